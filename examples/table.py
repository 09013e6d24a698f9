"""A whole analysis of a table, beside a truth that is known.

    python examples/table.py [FOLDER]

The data are simulated, so every effect has a known value to compare with. The script estimates
effects, decomposes the total effect four ways, bootstraps, and writes the report, the result and
the scores to FOLDER (the current one by default).
"""
# ruff: noqa: T201 - a script talks to people

import sys
from pathlib import Path

import crossworld as xw
from crossworld import M, Y

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")

# An offer (a) changes a habit (m), and both change an outcome (y). x affects all three.
# The habit matters more for those who took the offer: treatment and mediator interact.
data = xw.datasets.interaction(n=2000, seed=7)
frame = data.to_pandas()  # yours would come from pd.read_csv, polars, or a path to a file

# 1. Say what the columns are. Nothing is estimated yet.
study = xw.TableStudy.from_frame(frame, "a -> m -> y", adjust=["x"], levels=(0, 1))

# 2. Choose a method. interaction=True puts a:m into the outcome model.
method = xw.Regression(interaction=True)

# 3. Ask. The named effects are expressions over cells, so your own need no new code.
shift = xw.Estimand("half the response", 0.5 * (Y(1) - Y(1, M(0))))
questions = [xw.TE, xw.NDE, xw.NIE, xw.TNDE, xw.PNIE, xw.PM, shift]
effects = xw.estimate(study, method, questions)
print(effects)

# 4. Compare with the truth: estimate, interval, truth, and whether the interval covers it.
print("\nBeside the truth")
for question in questions:
    row, truth = effects[question.name], data.effect(question)
    covers = row.conf_low <= truth <= row.conf_high
    print(
        f"  {row.term:<18} {row.estimate:7.3f} [{row.conf_low:6.3f}, {row.conf_high:6.3f}]"
        f"  truth {truth:6.3f}  {'covered' if covers else 'missed'}"
    )

# 5. Four parts of the total effect (VanderWeele 2014), with the mediator held at 0 in the first:
#    neither mediation nor interaction, interaction only, both, mediation only.
parts = xw.four_way(m=0)
four = xw.estimate(study, method, [xw.TE, *parts])
print("\nFour-way decomposition")
for row in four:
    print(f"  {row.term:<14} {row.estimate:7.3f}  {row.estimate / four['te'].estimate:6.1%} of te")
assert abs(sum(four[p.name].estimate for p in parts) - four["te"].estimate) < 1e-9

# 6. The same effects with bootstrap intervals. Estimates do not change; intervals hardly do.
boot = xw.estimate(
    study, method, [xw.NIE, xw.PM], inference=xw.Bootstrap(draws=500, seed=1, kind="bca")
)
print("\nWald and bootstrap")
for row in boot:
    wald = effects[row.term]
    print(
        f"  {row.term:<4} {wald.conf_method:<8} [{wald.conf_low:.3f}, {wald.conf_high:.3f}]"
        f"   {row.conf_method} [{row.conf_low:.3f}, {row.conf_high:.3f}]"
    )

# 7. What has to be true for any of this to be causal.
print("\nAssumptions")
for assumption in effects.identification["assumptions"]:
    print(f"  {assumption['name']}: {assumption['statement']}")

# 8. Keep it: a page for people, a document for programs, scores for later questions.
effects.report(folder / "report.html")
effects.to_json(folder / "result.json")
assert effects.scores is not None
effects.scores.save(folder / "scores.npz")
later = xw.contrast(xw.Scores.load(folder / "scores.npz"), [xw.NIE.ratio()])
print(f"\nAsked later, from the scores alone: {later['nie.ratio'].estimate:.3f}")
print(f"Wrote report.html, result.json and scores.npz to {folder.resolve()}")
