"""The diabetes progression study that scikit-learn ships, with the names of its columns."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "s1": "cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "cholesterol_hdl_ratio",
    "s5": "log_triglycerides",
    "s6": "glucose",
    "bp": "blood_pressure",
    "target": "progression",
}
SPEC = '''\
# How much of the effect of body mass index on diabetes progression runs through blood serum?
[study]
kind = "table"
data = "diabetes.csv"
path = """bmi -> cholesterol + ldl + hdl + cholesterol_hdl_ratio + log_triglycerides + glucose \
    -> progression"""
adjust = ["age", "sex"]
levels = [25, 30]        # overweight begins at 25, obesity at 30

[estimator]
name = "Regression"

[inference]
name = "Wald"

[ask]
effects = ["te", "nde", "nie", "pm"]
level = 0.95
'''


def diabetes() -> Any:
    """Read the data of Efron et al. (2004) from scikit-learn, in their original units.

    Returns
    -------
    pandas.DataFrame
        442 rows: age, sex, bmi, blood pressure, six serum measures, and a quantitative measure of
        disease progression one year later.

    References
    ----------
    Efron, Hastie, Johnstone, Tibshirani (2004). Least angle regression. Annals of Statistics 32.
    """
    from sklearn.datasets import load_diabetes

    return load_diabetes(as_frame=True, scaled=False).frame.rename(columns=COLUMNS)
