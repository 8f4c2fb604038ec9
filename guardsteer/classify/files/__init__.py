"""A classifier's folder: card, tables, graph; read with every mistake told, written to the byte."""
