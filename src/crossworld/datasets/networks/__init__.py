"""Networks with a known truth: built by hand with exact effects, or trained in seconds.

They need the ``local`` extra (torch, transformers). Each is one function: `and_gate`, `backup`,
`gaussian_relu`, `illusion`, `induction_gpt2`, `linear_residual` and `saturated` return a
`KnownNetwork`; `train_adder`, `train_boolean`, `train_digits`, `train_greater_than`,
`train_induction`, `train_ioi` and `train_pointer` a `TrainedNetwork`.
"""

from crossworld.datasets.networks.gates import and_gate as and_gate
from crossworld.datasets.networks.gates import backup as backup
from crossworld.datasets.networks.gates import illusion as illusion
from crossworld.datasets.networks.gates import saturated as saturated
from crossworld.datasets.networks.gaussian import gaussian_relu as gaussian_relu
from crossworld.datasets.networks.images import pointer_images as pointer_images
from crossworld.datasets.networks.images import pointer_program as pointer_program
from crossworld.datasets.networks.images import train_digits as train_digits
from crossworld.datasets.networks.images import train_pointer as train_pointer
from crossworld.datasets.networks.induction import induction_gpt2 as induction_gpt2
from crossworld.datasets.networks.known import KnownNetwork as KnownNetwork
from crossworld.datasets.networks.language import train_greater_than as train_greater_than
from crossworld.datasets.networks.language import train_induction as train_induction
from crossworld.datasets.networks.language import train_ioi as train_ioi
from crossworld.datasets.networks.linear import linear_residual as linear_residual
from crossworld.datasets.networks.programs import Program as Program
from crossworld.datasets.networks.programs import Step as Step
from crossworld.datasets.networks.staged import adder_programs as adder_programs
from crossworld.datasets.networks.staged import boolean_programs as boolean_programs
from crossworld.datasets.networks.staged import train_adder as train_adder
from crossworld.datasets.networks.staged import train_boolean as train_boolean
from crossworld.datasets.networks.trained import TrainedNetwork as TrainedNetwork
