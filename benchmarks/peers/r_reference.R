# Simulated intervals of R's mediation package on its own two data sets.
#
#   R_LIBS=<library> Rscript benchmarks/peers/r_reference.R [shared folder] [output file]
#
# The shared folder defaults to CROSSWORLD_SHARED, else ../shared; the output to
# tests/reference/r_mediation.json. Every figure has the point estimate that mediate() prints,
# and the standard deviation and the 2.5 and 97.5 percentiles of its simulation draws.
#
# For each unit and draw, mediate() also draws the mediator's error; the same error serves both
# treatment levels. The block `integrated` repeats the quasi-Bayesian draws with the mediator
# integrated out analytically, so that the part of sd that this noise adds can be told apart.

suppressPackageStartupMessages(library(mediation))

QUASI_SIMS <- 5000L
BOOT_SIMS <- 2000L
INTEGRATED_SIMS <- 200000L
BLOCK <- 1000L
SEED <- 20140101L
TERMS <- c("acme_control", "acme_treated", "ade_control", "ade_treated", "te")

arguments <- commandArgs(trailingOnly = TRUE)
shared <- if (length(arguments) >= 1) arguments[1] else Sys.getenv("CROSSWORLD_SHARED", "../shared")
output <- if (length(arguments) >= 2) arguments[2] else "tests/reference/r_mediation.json"

read_table <- function(name) {
  read.csv(file.path(shared, "data", "tables", name), stringsAsFactors = TRUE)
}

jobs <- read_table("mediation__jobs.csv")
jobs$work1 <- as.integer(jobs$work1 == "psyemp")
framing <- read_table("mediation__framing.csv")

specifications <- list(
  jobs_lm_lm = list(
    file = "mediation__jobs.csv", data = jobs, names = c("treat", "job_seek"),
    mediator = job_seek ~ treat + econ_hard + sex + age,
    outcome = depress2 ~ treat + job_seek + econ_hard + sex + age
  ),
  jobs_lm_probit = list(
    file = "mediation__jobs.csv", data = jobs, names = c("treat", "job_seek"), probit = TRUE,
    mediator = job_seek ~ treat + econ_hard + sex + age,
    outcome = work1 ~ treat + job_seek + econ_hard + sex + age
  ),
  framing_lm_probit = list(
    file = "mediation__framing.csv", data = framing, names = c("treat", "emo"), probit = TRUE,
    mediator = emo ~ treat + age + educ + gender + income,
    outcome = cong_mesg ~ emo + treat + age + educ + gender + income
  ),
  jobs_lm_lm_interaction = list(
    file = "mediation__jobs.csv", data = jobs, names = c("treat", "job_seek"), quasi_only = TRUE,
    mediator = job_seek ~ treat + econ_hard + sex + age,
    outcome = depress2 ~ treat * job_seek + econ_hard + sex + age
  ),
  jobs_lm_probit_interaction = list(
    file = "mediation__jobs.csv", data = jobs, names = c("treat", "job_seek"), probit = TRUE,
    quasi_only = TRUE,
    mediator = job_seek ~ treat + econ_hard + sex + age,
    outcome = work1 ~ treat * job_seek + econ_hard + sex + age
  ),
  framing_lm_probit_interaction = list(
    file = "mediation__framing.csv", data = framing, names = c("treat", "emo"), probit = TRUE,
    quasi_only = TRUE,
    mediator = emo ~ treat + age + educ + gender + income,
    outcome = cong_mesg ~ emo * treat + age + educ + gender + income
  )
)

# mediate() refits from the models' calls, so the formulas must stand in them literally.
fit_models <- function(spec) {
  data <- spec$data
  list(
    mediator = eval(bquote(lm(.(spec$mediator), data = data))),
    outcome = if (isTRUE(spec$probit)) {
      eval(bquote(glm(.(spec$outcome), data = data, family = binomial("probit"))))
    } else {
      eval(bquote(lm(.(spec$outcome), data = data)))
    },
    data = data
  )
}

summarise_draws <- function(points, draws) {
  stopifnot(is.matrix(draws), ncol(draws) == length(TERMS), is.finite(draws), is.finite(points))
  rows <- lapply(seq_along(TERMS), function(i) {
    limits <- unname(quantile(draws[, i], c(0.025, 0.975)))
    list(point = points[i], sd = sd(draws[, i]), low = limits[1], high = limits[2])
  })
  setNames(rows, TERMS)
}

run_mediate <- function(spec, boot) {
  models <- fit_models(spec)
  data <- models$data
  set.seed(SEED)
  fit <- suppressMessages(mediate(
    models$mediator, models$outcome,
    treat = spec$names[1], mediator = spec$names[2], boot = boot, boot.ci.type = "perc",
    sims = if (boot) BOOT_SIMS else QUASI_SIMS, robustSE = FALSE
  ))
  points <- c(fit$d0, fit$d1, fit$z0, fit$z1, fit$tau.coef)
  draws <- fit[c("d0.sims", "d1.sims", "z0.sims", "z1.sims", "tau.sims")]
  draws <- vapply(draws, as.numeric, numeric(fit$sims))
  c(list(sims = fit$sims, seed = SEED), summarise_draws(unname(points), draws))
}

# E[Y(a, M(b))] for a normal mediator: linear outcome, or probit by the closed form
# E Phi(u + v M) = Phi((u + v mu) / sqrt(1 + v^2 s^2)).
integrated_effects <- function(spec) {
  models <- fit_models(spec)
  spread <- summary(models$mediator)$sigma
  design <- function(model, a, m = 0) {
    changed <- models$data
    changed[[spec$names[1]]] <- a
    changed[[spec$names[2]]] <- m
    model.matrix(delete.response(terms(model)), changed, xlev = model$xlevels)
  }
  levels <- 0:1
  designs_m <- lapply(levels, function(b) design(models$mediator, b))
  designs_y <- lapply(levels, function(a) design(models$outcome, a))
  slopes <- lapply(levels, function(a) (design(models$outcome, a, 1) - designs_y[[a + 1]])[1, ])
  cell <- function(a, b, coef_m, coef_y) {
    slope <- drop(coef_y %*% slopes[[a + 1]])
    mu <- tcrossprod(designs_m[[b + 1]], coef_m)
    mean_y <- tcrossprod(designs_y[[a + 1]], coef_y) + sweep(mu, 2, slope, "*")
    if (!isTRUE(spec$probit)) {
      return(colMeans(mean_y))
    }
    colMeans(pnorm(sweep(mean_y, 2, sqrt(1 + slope^2 * spread^2), "/")))
  }
  effects <- function(coef_m, coef_y) {
    y00 <- cell(0, 0, coef_m, coef_y)
    y01 <- cell(0, 1, coef_m, coef_y)
    y10 <- cell(1, 0, coef_m, coef_y)
    y11 <- cell(1, 1, coef_m, coef_y)
    cbind(y01 - y00, y11 - y10, y10 - y00, y11 - y01, y11 - y00)
  }
  set.seed(SEED)
  beta_m <- mvrnorm(INTEGRATED_SIMS, coef(models$mediator), vcov(models$mediator))
  beta_y <- mvrnorm(INTEGRATED_SIMS, coef(models$outcome), vcov(models$outcome))
  draws <- do.call(rbind, lapply(seq(1L, INTEGRATED_SIMS, BLOCK), function(first) {
    rows <- first:(first + BLOCK - 1L)
    effects(beta_m[rows, ], beta_y[rows, ])
  }))
  exact <- drop(effects(t(coef(models$mediator)), t(coef(models$outcome))))
  c(list(sims = INTEGRATED_SIMS, seed = SEED), summarise_draws(exact, draws))
}

to_json <- function(value, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.list(value)) {
    body <- vapply(names(value), function(key) {
      sprintf("%s\"%s\": %s", deeper, key, to_json(value[[key]], deeper))
    }, "")
    return(paste0("{\n", paste(body, collapse = ",\n"), "\n", indent, "}"))
  }
  if (is.character(value)) {
    return(sprintf("\"%s\"", value))
  }
  if (is.integer(value)) sprintf("%d", value) else sprintf("%.10g", value)
}

figures <- lapply(specifications, function(spec) {
  deparse_one <- function(formula) paste(deparse(formula, width.cutoff = 500L), collapse = " ")
  blocks <- list(
    data = spec$file,
    treatment = spec$names[1],
    mediator = paste(deparse_one(spec$mediator), "(OLS)"),
    outcome = paste(deparse_one(spec$outcome), if (isTRUE(spec$probit)) "(probit)" else "(OLS)"),
    quasi_bayes = run_mediate(spec, boot = FALSE)
  )
  if (!isTRUE(spec$quasi_only)) {
    blocks$bootstrap <- run_mediate(spec, boot = TRUE)
  }
  blocks$integrated <- integrated_effects(spec)
  blocks
})

document <- c(list(
  source = sprintf(
    "R %s, mediation %s: mediate(boot = FALSE | TRUE, robustSE = FALSE, boot.ci.type = 'perc')",
    as.character(getRversion()), as.character(packageVersion("mediation"))
  ),
  levels = "0 (reference), 1 (active); work1 is 1 for psyemp",
  columns = "point as printed; sd, low (2.5 %) and high (97.5 %) of the simulation draws",
  names = "acme_control pnie, acme_treated nie, ade_control nde, ade_treated tnde, te te",
  quasi_bayes = "coefficients drawn from normals, residual variance held; point is the draws' mean",
  bootstrap = "rows drawn with replacement, both models refitted, percentile interval",
  noise = paste(
    "mediate() draws one mediator per unit and draw, which adds to sd and, in bootstrap, to point;",
    "integrated has no such noise: own draws of the same coefficients, exact cells, exact point"
  )
), figures)

writeLines(to_json(document), output)
