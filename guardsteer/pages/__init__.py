"""What pages and pictures are made of: one self-contained HTML file, charts and tables as SVG."""
