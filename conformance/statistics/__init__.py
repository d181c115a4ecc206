"""Is this parameter drawn from that distribution? Framework-free, with the error rates stated.

`examine` holds the draws of one parameter against its initializer, `across` the parameters against each other;
`judge` gives the verdicts on all of the evidence of a run at one rate of false alarms; `diagnose` says what a failure
looks like. `replicates` says how many draws to make, `smallest_effects` what they would catch.

Where no initializer is known, `compare` holds the draws of a port against those of a reference, `copies` the parameters
of each side against each other, and `likeliest` names the scheme of one side.
"""

from __future__ import annotations

from .diagnosis import diagnose as diagnose
from .evidence import Evidence as Evidence
from .evidence import Verdict as Verdict
from .holm import judge as judge
from .independence import across as across
from .one_sample import examine as examine
from .orthogonality import gain_of as gain_of
from .power import ALPHA as ALPHA
from .power import BETA as BETA
from .power import TARGET as TARGET
from .power import SmallestEffects as SmallestEffects
from .power import replicates as replicates
from .power import sample_size_cut_off as sample_size_cut_off
from .power import sample_size_distance as sample_size_distance
from .power import sample_size_mean as sample_size_mean
from .power import sample_size_outside as sample_size_outside
from .power import sample_size_std as sample_size_std
from .power import smallest_effects as smallest_effects
from .repeated_draws import copies as copies
from .schemes import Scheme as Scheme
from .schemes import likeliest as likeliest
from .two_sample import compare as compare
