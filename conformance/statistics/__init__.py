"""Is this parameter drawn from that distribution? Framework-free, with the error rates stated.

`examine` holds the draws of one parameter against its initializer, `across` the parameters against each other;
`judge` gives the verdicts on all of the evidence of a run at one rate of false alarms; `diagnose` says what a failure
looks like. `replicates` says how many draws to make; each verdict, what its test would have caught.

Where no initializer is known, `compare` holds the draws of a port against those of a reference, `copies` the parameters
of each side against each other, and `likeliest` names the scheme of one side.
"""

from __future__ import annotations

from .correlation import across as across
from .correlation import copies as copies
from .evidence import Evidence as Evidence
from .evidence import Judgement as Judgement
from .evidence import judge as judge
from .one_sample import examine as examine
from .orthogonality import gain_of as gain_of
from .power import ALPHA as ALPHA
from .power import BETA as BETA
from .power import replicates as replicates
from .schemes import Scheme as Scheme
from .schemes import diagnose as diagnose
from .schemes import likeliest as likeliest
from .two_sample import compare as compare
