"""Causal mediation analysis: tables, reasoning, and the inside of neural networks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossworld.compare.multiverse import Multiverse as Multiverse
    from crossworld.compare.multiverse import multiverse as multiverse
    from crossworld.compare.naive import NaiveComparison as NaiveComparison
    from crossworld.compare.naive import naive as naive
    from crossworld.core import exhibits as exhibits
    from crossworld.core.analysis import Analysis as Analysis
    from crossworld.core.analysis import contrast as contrast
    from crossworld.core.analysis import estimate as estimate
    from crossworld.core.effects import CDE as CDE
    from crossworld.core.effects import IDE as IDE
    from crossworld.core.effects import IIE as IIE
    from crossworld.core.effects import INT_MED as INT_MED
    from crossworld.core.effects import INT_REF as INT_REF
    from crossworld.core.effects import NATURAL as NATURAL
    from crossworld.core.effects import NDE as NDE
    from crossworld.core.effects import NIE as NIE
    from crossworld.core.effects import OE as OE
    from crossworld.core.effects import PM as PM
    from crossworld.core.effects import PNIE as PNIE
    from crossworld.core.effects import PSE as PSE
    from crossworld.core.effects import TE as TE
    from crossworld.core.effects import TNDE as TNDE
    from crossworld.core.effects import four_way as four_way
    from crossworld.core.estimand import Estimand as Estimand
    from crossworld.core.estimate import Estimate as Estimate
    from crossworld.core.expression import Cell as Cell
    from crossworld.core.expression import Y as Y
    from crossworld.core.graph.dag import Graph as Graph
    from crossworld.core.identification import Identification as Identification
    from crossworld.core.identify.separable import SDE as SDE
    from crossworld.core.identify.separable import SIE as SIE
    from crossworld.core.identify.verdict import identify as identify
    from crossworld.core.parse import estimand as estimand
    from crossworld.core.refutation import Refutation as Refutation
    from crossworld.core.regime import G as G
    from crossworld.core.regime import M as M
    from crossworld.core.regime import set_ as set_
    from crossworld.core.scores import Scores as Scores
    from crossworld.core.table import Effect as Effect
    from crossworld.core.table import EffectTable as EffectTable
    from crossworld.forwhom.groups import by_group as by_group
    from crossworld.forwhom.groups import effects_by as effects_by
    from crossworld.forwhom.learned import ConditionalEffects as ConditionalEffects
    from crossworld.forwhom.learned import conditional_effects as conditional_effects
    from crossworld.forwhom.learner import DRLearner as DRLearner
    from crossworld.forwhom.projection import best_linear_projection as best_linear_projection
    from crossworld.forwhom.rules import RuleSearch as RuleSearch
    from crossworld.forwhom.rules import rules as rules
    from crossworld.infer.bootstrap import Bootstrap as Bootstrap
    from crossworld.infer.multiplier import Multiplier as Multiplier
    from crossworld.infer.simulation import Simulation as Simulation
    from crossworld.infer.wald import Wald as Wald
    from crossworld.internals.alignment.align import Aligned as Aligned
    from crossworld.internals.alignment.align import align as align
    from crossworld.internals.alignment.controls import alignment_controls as alignment_controls
    from crossworld.internals.alignment.illusion import Couples as Couples
    from crossworld.internals.alignment.illusion import Illusion as Illusion
    from crossworld.internals.alignment.illusion import illusion as illusion
    from crossworld.internals.alignment.illusion import illusion_of as illusion_of
    from crossworld.internals.alignment.interchange import Agreement as Agreement
    from crossworld.internals.alignment.interchange import (
        interchange_accuracy as interchange_accuracy,
    )
    from crossworld.internals.alignment.program import CausalProgram as CausalProgram
    from crossworld.internals.alignment.rivals import (
        approximate_abstraction as approximate_abstraction,
    )
    from crossworld.internals.alignment.rivals import rank_programs as rank_programs
    from crossworld.internals.alignment.search import DAS as DAS
    from crossworld.internals.alignment.search import BoundlessDAS as BoundlessDAS
    from crossworld.internals.alignment.task import AlignmentTask as AlignmentTask
    from crossworld.internals.alignment.task import Interchange as Interchange
    from crossworld.internals.alignment.task import interchanges as interchanges
    from crossworld.internals.alignment.training import InterchangeTraining as InterchangeTraining
    from crossworld.internals.alignment.training import compare_training as compare_training
    from crossworld.internals.alignment.training import interchange_training as interchange_training
    from crossworld.internals.atpstar import AtPStar as AtPStar
    from crossworld.internals.attribution import Attribution as Attribution
    from crossworld.internals.basis import Feature as Feature
    from crossworld.internals.basis import Subspace as Subspace
    from crossworld.internals.circuit import Circuit as Circuit
    from crossworld.internals.circuits import CircuitRun as CircuitRun
    from crossworld.internals.circuits import circuit_curve as circuit_curve
    from crossworld.internals.concepts import concept_effects as concept_effects
    from crossworld.internals.edges import EdgeAttribution as EdgeAttribution
    from crossworld.internals.edgescores import Edge as Edge
    from crossworld.internals.edgescores import EdgeScores as EdgeScores
    from crossworld.internals.erasure import Leace as Leace
    from crossworld.internals.generate import Sampling as Sampling
    from crossworld.internals.generate import World as World
    from crossworld.internals.generate import counterfactual as counterfactual
    from crossworld.internals.generate import generate as generate
    from crossworld.internals.interventions import Change as Change
    from crossworld.internals.interventions import Intervention as Intervention
    from crossworld.internals.metrics import Metric as Metric
    from crossworld.internals.noise import Noise as Noise
    from crossworld.internals.overlap import CircuitTask as CircuitTask
    from crossworld.internals.overlap import selectivity as selectivity
    from crossworld.internals.pairs import Pairs as Pairs
    from crossworld.internals.patch import Patch as Patch
    from crossworld.internals.paths import PathPatch as PathPatch
    from crossworld.internals.probes import Probing as Probing
    from crossworld.internals.probes import probe as probe
    from crossworld.internals.published import PublishedEffects as PublishedEffects
    from crossworld.internals.side_effects import Aside as Aside
    from crossworld.internals.side_effects import side_effects as side_effects
    from crossworld.internals.site import Site as Site
    from crossworld.internals.site import sites as sites
    from crossworld.internals.steering import steer as steer
    from crossworld.internals.study import PatchStudy as PatchStudy
    from crossworld.internals.subject import TorchSubject as TorchSubject
    from crossworld.internals.sweep import sweep as sweep
    from crossworld.interop.tracking import Tracker as Tracker
    from crossworld.interop.tracking import track as track
    from crossworld.reasoning.budget import Costs as Costs
    from crossworld.reasoning.budget import budget as budget
    from crossworld.reasoning.collect import collect as collect
    from crossworld.reasoning.collect import collect_now as collect_now
    from crossworld.reasoning.edits.carried import CARRIED as CARRIED
    from crossworld.reasoning.edits.carried import carried_share as carried_share
    from crossworld.reasoning.limits import Limits as Limits
    from crossworld.reasoning.models.guidance import GuidanceModel as GuidanceModel
    from crossworld.reasoning.models.inspect import InspectModel as InspectModel
    from crossworld.reasoning.models.recorded import RecordedModel as RecordedModel
    from crossworld.reasoning.models.simulated import SimulatedReasoner as SimulatedReasoner
    from crossworld.reasoning.models.transformers import TransformersModel as TransformersModel
    from crossworld.reasoning.observational.distill import distill as distill
    from crossworld.reasoning.observational.leakage import leakage as leakage
    from crossworld.reasoning.plan import Plan as Plan
    from crossworld.reasoning.plan import Question as Question
    from crossworld.reasoning.plan import Replayed as Replayed
    from crossworld.reasoning.plan import Template as Template
    from crossworld.reasoning.plan import four_cells as four_cells
    from crossworld.reasoning.replay import Replay as Replay
    from crossworld.reasoning.several import by_model as by_model
    from crossworld.reasoning.study import ReasoningStudy as ReasoningStudy
    from crossworld.reasoning.trace import Trace as Trace
    from crossworld.refute.common_cause import RandomCommonCause as RandomCommonCause
    from crossworld.refute.dummy_outcome import DummyOutcome as DummyOutcome
    from crossworld.refute.identifying_assumptions import (
        IdentifyingAssumptions as IdentifyingAssumptions,
    )
    from crossworld.refute.misspecification import Misspecification as Misspecification
    from crossworld.refute.noisy_covariates import NoisyCovariates as NoisyCovariates
    from crossworld.refute.overlap import Overlap as Overlap
    from crossworld.refute.placebo import PlaceboTreatment as PlaceboTreatment
    from crossworld.refute.placebo_mediator import PlaceboMediator as PlaceboMediator
    from crossworld.refute.subset import DataSubset as DataSubset
    from crossworld.refute.unmeasured import UnmeasuredConfounder as UnmeasuredConfounder
    from crossworld.spec import load_spec as load_spec
    from crossworld.tables.auxiliary import Auxiliary as Auxiliary
    from crossworld.tables.encouragement import Encouragement as Encouragement
    from crossworld.tables.front_door import FrontDoor as FrontDoor
    from crossworld.tables.imputation import Imputation as Imputation
    from crossworld.tables.interventional import Interventional as Interventional
    from crossworld.tables.learned_mediator import LearnedMediator as LearnedMediator
    from crossworld.tables.multiply_robust import MultiplyRobust as MultiplyRobust
    from crossworld.tables.natural_effects import NaturalEffects as NaturalEffects
    from crossworld.tables.regression import Regression as Regression
    from crossworld.tables.riesz import Riesz as Riesz
    from crossworld.tables.separable import Separable as Separable
    from crossworld.tables.study import TableStudy as TableStudy
    from crossworld.tables.tmle import TMLE as TMLE
    from crossworld.tables.weighting import Weighting as Weighting
    from crossworld.watching.result import Watched as Watched
    from crossworld.watching.watch import watch as watch
    from crossworld.watching.windows import Windows as Windows

_HOME = {
    "compare.multiverse": ("Multiverse", "multiverse"),
    "compare.naive": ("NaiveComparison", "naive"),
    "core.analysis": ("Analysis", "contrast", "estimate"),
    "core.effects": (
        "CDE",
        "IDE",
        "IIE",
        "INT_MED",
        "INT_REF",
        "NATURAL",
        "NDE",
        "NIE",
        "OE",
        "PM",
        "PNIE",
        "PSE",
        "TE",
        "TNDE",
        "four_way",
    ),
    "core.estimand": ("Estimand",),
    "core.estimate": ("Estimate",),
    "core.expression": ("Cell", "Y"),
    "core.graph.dag": ("Graph",),
    "core.identification": ("Identification",),
    "core.identify.separable": ("SDE", "SIE"),
    "core.identify.verdict": ("identify",),
    "core.parse": ("estimand",),
    "core.refutation": ("Refutation",),
    "core.regime": ("G", "M", "set_"),
    "core.scores": ("Scores",),
    "core.table": ("Effect", "EffectTable"),
    "forwhom.groups": ("by_group", "effects_by"),
    "forwhom.learned": ("ConditionalEffects", "conditional_effects"),
    "forwhom.learner": ("DRLearner",),
    "forwhom.projection": ("best_linear_projection",),
    "forwhom.rules": ("RuleSearch", "rules"),
    "infer.bootstrap": ("Bootstrap",),
    "infer.multiplier": ("Multiplier",),
    "infer.simulation": ("Simulation",),
    "infer.wald": ("Wald",),
    "interop.tracking": ("Tracker", "track"),
    "internals.attribution": ("Attribution",),
    "internals.atpstar": ("AtPStar",),
    "internals.basis": ("Feature", "Subspace"),
    "internals.circuit": ("Circuit",),
    "internals.circuits": ("CircuitRun", "circuit_curve"),
    "internals.edges": ("EdgeAttribution",),
    "internals.edgescores": ("Edge", "EdgeScores"),
    "internals.metrics": ("Metric",),
    "internals.noise": ("Noise",),
    "internals.pairs": ("Pairs",),
    "internals.overlap": ("CircuitTask", "selectivity"),
    "internals.patch": ("Patch",),
    "internals.paths": ("PathPatch",),
    "internals.published": ("PublishedEffects",),
    "internals.site": ("Site", "sites"),
    "internals.study": ("PatchStudy",),
    "internals.subject": ("TorchSubject",),
    "internals.sweep": ("sweep",),
    "internals.alignment.align": ("Aligned", "align"),
    "internals.alignment.controls": ("alignment_controls",),
    "internals.alignment.illusion": ("Couples", "Illusion", "illusion", "illusion_of"),
    "internals.alignment.interchange": ("Agreement", "interchange_accuracy"),
    "internals.alignment.program": ("CausalProgram",),
    "internals.alignment.rivals": ("approximate_abstraction", "rank_programs"),
    "internals.alignment.search": ("BoundlessDAS", "DAS"),
    "internals.alignment.task": ("AlignmentTask", "Interchange", "interchanges"),
    "internals.alignment.training": (
        "InterchangeTraining",
        "compare_training",
        "interchange_training",
    ),
    "internals.concepts": ("concept_effects",),
    "internals.erasure": ("Leace",),
    "internals.generate": ("Sampling", "World", "counterfactual", "generate"),
    "internals.interventions": ("Change", "Intervention"),
    "internals.probes": ("Probing", "probe"),
    "internals.side_effects": ("Aside", "side_effects"),
    "internals.steering": ("steer",),
    "reasoning.budget": ("Costs", "budget"),
    "reasoning.collect": ("collect", "collect_now"),
    "reasoning.edits.carried": ("CARRIED", "carried_share"),
    "reasoning.limits": ("Limits",),
    "reasoning.models.guidance": ("GuidanceModel",),
    "reasoning.models.inspect": ("InspectModel",),
    "reasoning.models.recorded": ("RecordedModel",),
    "reasoning.models.simulated": ("SimulatedReasoner",),
    "reasoning.models.transformers": ("TransformersModel",),
    "reasoning.observational.distill": ("distill",),
    "reasoning.observational.leakage": ("leakage",),
    "reasoning.plan": ("Plan", "Question", "Replayed", "Template", "four_cells"),
    "reasoning.replay": ("Replay",),
    "reasoning.several": ("by_model",),
    "reasoning.study": ("ReasoningStudy",),
    "reasoning.trace": ("Trace",),
    "refute.common_cause": ("RandomCommonCause",),
    "refute.dummy_outcome": ("DummyOutcome",),
    "refute.identifying_assumptions": ("IdentifyingAssumptions",),
    "refute.misspecification": ("Misspecification",),
    "refute.noisy_covariates": ("NoisyCovariates",),
    "refute.overlap": ("Overlap",),
    "refute.placebo": ("PlaceboTreatment",),
    "refute.placebo_mediator": ("PlaceboMediator",),
    "refute.subset": ("DataSubset",),
    "refute.unmeasured": ("UnmeasuredConfounder",),
    "spec": ("load_spec",),
    "tables.auxiliary": ("Auxiliary",),
    "tables.encouragement": ("Encouragement",),
    "tables.front_door": ("FrontDoor",),
    "tables.imputation": ("Imputation",),
    "tables.interventional": ("Interventional",),
    "tables.learned_mediator": ("LearnedMediator",),
    "tables.multiply_robust": ("MultiplyRobust",),
    "tables.natural_effects": ("NaturalEffects",),
    "tables.regression": ("Regression",),
    "tables.riesz": ("Riesz",),
    "tables.separable": ("Separable",),
    "tables.study": ("TableStudy",),
    "tables.tmle": ("TMLE",),
    "tables.weighting": ("Weighting",),
    "watching.result": ("Watched",),
    "watching.watch": ("watch",),
    "watching.windows": ("Windows",),
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
_MODULES = {
    "datasets": "datasets",
    "errors": "errors",
    "exhibits": "core.exhibits",
    "sensitivity": "sensitivity",
}
__all__ = sorted([*_WHERE, *_MODULES, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from crossworld.core.provenance import installed

        return installed("crossworld")
    if name in _MODULES:
        return import_module(f"crossworld.{_MODULES[name]}")
    if name not in _WHERE:
        raise AttributeError(f"module 'crossworld' has no attribute {name!r}")
    return getattr(import_module(f"crossworld.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
