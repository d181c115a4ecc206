"""The command line's longer commands, each with its options and its body; `cli.py` puts them together."""

from .align import align
from .check import check
from .convert import convert
from .output import progress as progress
from .plan import plan
from .record import record
from .table import table

COMMANDS = (align, check, convert, plan, record, table)
