# One timed call of R's mediate(); called by benchmarks/tables.py, which reads the one line printed.
#
#   Rscript mediate.R DATA TREATMENT MEDIATOR OUTCOME ADJUST FAMILY METHOD DRAWS SEED
#
# ADJUST is a comma separated list, FAMILY gaussian or logit, METHOD bootstrap or simulation.
# Reading, fitting the two models and a call with ten draws come before the clock starts;
# library(mediation) is found through R_LIBS.

suppressPackageStartupMessages(library(mediation))

argument <- commandArgs(trailingOnly = TRUE)
data <- read.csv(argument[1])
treatment <- argument[2]
mediator <- argument[3]
adjust <- strsplit(argument[5], ",")[[1]]
boot <- argument[7] == "bootstrap"
draws <- as.integer(argument[8])
seed <- as.integer(argument[9])

# mediate() refits from the models' calls, so the formulas must stand in them literally.
formula_m <- reformulate(c(treatment, adjust), mediator)
formula_y <- reformulate(c(treatment, mediator, adjust), argument[4])
model_m <- eval(bquote(lm(.(formula_m), data = data)))
model_y <- if (argument[6] == "logit") {
  eval(bquote(glm(.(formula_y), data = data, family = binomial("logit"))))
} else {
  eval(bquote(lm(.(formula_y), data = data)))
}

run <- function(sims) {
  set.seed(seed)
  suppressMessages(mediate(
    model_m, model_y, treat = treatment, mediator = mediator, boot = boot,
    boot.ci.type = "perc", sims = sims, robustSE = FALSE
  ))
}

invisible(run(10L))
clock <- system.time(fit <- run(draws))

triple <- function(name, point, interval) {
  sprintf("\"%s\": [%.10g, %.10g, %.10g]", name, point, interval[1], interval[2])
}
estimates <- paste(
  triple("te", fit$tau.coef, fit$tau.ci),
  triple("nde", fit$z0, fit$z0.ci), triple("nie", fit$d1, fit$d1.ci),
  triple("tnde", fit$z1, fit$z1.ci), triple("pnie", fit$d0, fit$d0.ci),
  sep = ", "
)
cat(sprintf(
  "{\"wall\": %.6f, \"cpu\": %.6f, \"version\": \"mediation %s, R %s\", \"estimates\": {%s}}\n",
  clock[["elapsed"]], clock[["user.self"]] + clock[["sys.self"]],
  as.character(packageVersion("mediation")), as.character(getRversion()), estimates
))
