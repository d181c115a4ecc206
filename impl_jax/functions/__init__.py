"""What the spec's layers without parameters are as JAX functions, by family; both Flax wings use them."""

from .activations import ACTIVATIONS as ACTIVATIONS
from .activations import along_channels as along_channels
from .activations import sloped as sloped
from .convolutions import entering as entering
from .convolutions import grouped_transpose as grouped_transpose
from .convolutions import leaving as leaving
from .convolutions import transposed_word as transposed_word
from .convolutions import word as word
from .masks import for_heads as for_heads
from .masks import unless_padding as unless_padding
from .masks import zero_where_blocked as zero_where_blocked
from .norms import check_input as check_input
from .norms import offset_rms_norm as offset_rms_norm
from .norms import refuse_unknown_settings as refuse_unknown_settings
from .norms import unbiased as unbiased
from .operations import OPERATIONS as OPERATIONS
from .pooling import POOLING as POOLING
from .recurrent import outputs as outputs
from .recurrent import shapes as shapes
from .recurrent import unchanged as unchanged
