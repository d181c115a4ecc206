"""Writers: a destination laid out before it is filled, one module for each kind of file or folder."""
