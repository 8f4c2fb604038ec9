"""Pessimism and its saturation: more and more of a gloomy outlook, until the text breaks."""
