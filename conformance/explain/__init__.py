"""Why two sides differ: what a wrong array is, where the programs part, and which single mistake explains it."""
