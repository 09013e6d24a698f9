"""Generators that return data and the true value of every cell; numpy alone until drawn.

Examples
--------
>>> from crossworld import datasets
>>> from crossworld.core.expression import Y
>>> from crossworld.core.regime import M
>>> data = datasets.interaction(n=50, seed=1)
>>> round(data.truth(Y(1, M(0))), 12)
1.64
"""

from crossworld.datasets import networks as networks
from crossworld.datasets.hidden import HIDDEN as HIDDEN
from crossworld.datasets.hidden import Hidden as Hidden
from crossworld.datasets.hidden import auxiliary as auxiliary
from crossworld.datasets.hidden import front_door as front_door
from crossworld.datasets.hidden import separable as separable
from crossworld.datasets.puzzles import read_reasoning as read_reasoning
from crossworld.datasets.shipped import diabetes as diabetes
from crossworld.datasets.simulate import GENERATORS as GENERATORS
from crossworld.datasets.simulate import Simulated as Simulated
from crossworld.datasets.simulate import binary_both as binary_both
from crossworld.datasets.simulate import binary_mediator as binary_mediator
from crossworld.datasets.simulate import binary_outcome as binary_outcome
from crossworld.datasets.simulate import clustered as clustered
from crossworld.datasets.simulate import continuous_treatment as continuous_treatment
from crossworld.datasets.simulate import count_mediator as count_mediator
from crossworld.datasets.simulate import count_outcome as count_outcome
from crossworld.datasets.simulate import interaction as interaction
from crossworld.datasets.simulate import intermediate as intermediate
from crossworld.datasets.simulate import joint_block as joint_block
from crossworld.datasets.simulate import linear as linear
from crossworld.datasets.simulate import medoutcon as medoutcon
from crossworld.datasets.simulate import mixed_block as mixed_block
from crossworld.datasets.simulate import multilevel_treatment as multilevel_treatment
from crossworld.datasets.simulate import nominal_mediator as nominal_mediator
from crossworld.datasets.simulate import ordered as ordered
from crossworld.datasets.simulate import ordered_binary as ordered_binary
from crossworld.datasets.simulate import tmle3mediate as tmle3mediate
from crossworld.datasets.texts import ReasoningTexts as ReasoningTexts
from crossworld.datasets.texts import reasoning_texts as reasoning_texts
