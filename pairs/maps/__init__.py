"""Maps: which tensor of the reference is which of the port, with which axes; applied, inverted, resized and kept."""
