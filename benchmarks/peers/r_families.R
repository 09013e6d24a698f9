# Reference fits of every regression family, and exact mediation cells built from them.
#
#   Rscript benchmarks/peers/r_families.R [output file]
#
# Uses R's own stats, MASS (polr, glm.nb) and nnet (multinom). The data are drawn here and written
# into the output, so that a test needs nothing else. Columns are rounded before fitting.

suppressPackageStartupMessages({
  library(MASS)
  library(nnet)
})

options(contrasts = c("contr.treatment", "contr.treatment"))

SEED <- 71L
N <- 300L
ROUNDED <- 5L

arguments <- commandArgs(trailingOnly = TRUE)
output <- if (length(arguments) >= 1) arguments[1] else "tests/reference/r_families.json"

draw_table <- function() {
  set.seed(SEED)
  a <- rbinom(N, 1, 0.5)
  x <- round(rnorm(N), ROUNDED)
  m_gauss <- round(0.2 + 0.7 * a + 0.4 * x + rnorm(N), ROUNDED)
  m_bin <- rbinom(N, 1, plogis(-0.3 + 0.8 * a + 0.5 * x))
  m_count <- rpois(N, exp(0.3 + 0.4 * a + 0.2 * x))
  m_over <- rnbinom(N, size = 1.5, mu = exp(0.6 + 0.4 * a + 0.3 * x))
  latent <- 0.9 * a + 0.6 * x + rlogis(N)
  m_ord <- cut(latent, c(-Inf, -0.5, 0.6, 1.8, Inf), labels = c("none", "some", "much", "most"),
               ordered_result = TRUE)
  utility <- cbind(0, 0.2 + 0.7 * a - 0.3 * x, -0.4 + 0.3 * a + 0.6 * x)
  m_cat <- c("blue", "green", "red")[max.col(utility - log(-log(matrix(runif(3 * N), N))))]
  y_gauss <- round(
    1 + 0.5 * a + 0.6 * m_gauss + 0.3 * x + 0.4 * m_bin + 0.2 * m_count
      + 0.3 * as.integer(m_ord) + 0.7 * (m_cat == "red") + rnorm(N), ROUNDED
  )
  y_bin <- rbinom(N, 1, plogis(-0.8 + 0.5 * a + 0.7 * m_gauss + 0.3 * x + 0.2 * m_over
                               + 0.5 * m_bin + 0.4 * (m_cat == "red")))
  y_count <- rpois(N, exp(-0.2 + 0.3 * a + 0.3 * m_gauss + 0.2 * x))
  y_over <- rnbinom(N, size = 1.2, mu = exp(0.2 + 0.4 * a + 0.3 * m_gauss + 0.2 * x))
  y_rare <- rbinom(N, 1, pmin(exp(-2.2 + 0.5 * a + 0.6 * m_bin + 0.15 * x), 0.95))
  data.frame(a, x, m_gauss, m_bin, m_count, m_over, m_ord, m_cat = factor(m_cat),
             y_gauss, y_bin, y_count, y_over, y_rare)
}

data <- draw_table()
tight <- glm.control(epsilon = 1e-14, maxit = 200)

fit_glm <- function(formula, family, ...) {
  eval(bquote(glm(.(formula), family = family, data = data, control = tight, ...)))
}

fits <- list(
  m_gauss_gaussian = lm(m_gauss ~ a + x, data),
  m_bin_logit = fit_glm(m_bin ~ a + x, binomial("logit")),
  m_bin_probit = fit_glm(m_bin ~ a + x, binomial("probit")),
  m_count_poisson = fit_glm(m_count ~ a + x, poisson()),
  m_over_negative_binomial = glm.nb(m_over ~ a + x, data, control = tight),
  m_ord_ordinal_logit = polr(m_ord ~ a + x, data, Hess = TRUE, method = "logistic",
                             control = list(reltol = 1e-15, maxit = 1000)),
  m_ord_ordinal_probit = polr(m_ord ~ a + x, data, Hess = TRUE, method = "probit",
                              control = list(reltol = 1e-15, maxit = 1000)),
  m_cat_multinomial = multinom(m_cat ~ a + x, data, Hess = TRUE, trace = FALSE, maxit = 2000,
                               reltol = 1e-15, abstol = 1e-12),
  y_gauss_gaussian = lm(y_gauss ~ a + m_gauss + x, data),
  y_gauss_on_bin = lm(y_gauss ~ a * m_bin + x, data),
  y_gauss_on_count = lm(y_gauss ~ a * m_count + x, data),
  y_gauss_on_ord = lm(y_gauss ~ a + m_ord + x, data),
  y_gauss_on_cat = lm(y_gauss ~ a * m_cat + x, data),
  y_bin_logit = fit_glm(y_bin ~ a + m_gauss + x, binomial("logit")),
  y_bin_probit = fit_glm(y_bin ~ a + m_gauss + x, binomial("probit")),
  y_bin_logit_on_bin = fit_glm(y_bin ~ a + m_bin + x, binomial("logit")),
  y_bin_logit_on_over = fit_glm(y_bin ~ a + m_over + x, binomial("logit")),
  y_bin_logit_on_cat = fit_glm(y_bin ~ a + m_cat + x, binomial("logit")),
  y_count_poisson = fit_glm(y_count ~ a + m_gauss + x, poisson()),
  y_over_negative_binomial = glm.nb(y_over ~ a + m_gauss + x, data, control = tight),
  y_rare_log_binomial = fit_glm(y_rare ~ a + m_bin + x, binomial("log"), start = c(-2, 0, 0, 0))
)

set_treatment <- function(level) {
  changed <- data
  changed$a <- level
  changed
}

# The mediator's law at treatment b: list(values, weights), one row of weights for each unit.
discrete_law <- function(model, b, kind) {
  at <- set_treatment(b)
  switch(kind,
    binary = {
      p <- predict(model, at, type = "response")
      list(values = 0:1, weights = cbind(1 - p, p))
    },
    poisson = list(values = 0:200, weights = outer(
      predict(model, at, type = "response"), 0:200, function(mu, k) dpois(k, mu)
    )),
    negative_binomial = list(values = 0:2000, weights = outer(
      predict(model, at, type = "response"), 0:2000,
      function(mu, k) dnbinom(k, size = model$theta, mu = mu)
    )),
    factor = list(values = model$lev, weights = predict(model, at, type = "probs"))
  )
}

mean_given <- function(outcome, level, mediator, value) {
  at <- set_treatment(level)
  at[[mediator]] <- if (is.factor(data[[mediator]])) {
    factor(value, levels = levels(data[[mediator]]), ordered = is.ordered(data[[mediator]]))
  } else {
    value
  }
  predict(outcome, at, type = "response")
}

discrete_cell <- function(a, b, mediator, models, kind) {
  law <- discrete_law(models[[1]], b, kind)
  stopifnot(abs(rowSums(law$weights) - 1) < 1e-10)
  total <- 0
  for (k in seq_along(law$values)) {
    total <- total + law$weights[, k] * mean_given(models[[2]], a, mediator, law$values[k])
  }
  mean(total)
}

# Normal mediator: one-dimensional adaptive quadrature for every unit.
normal_cell <- function(a, b, mediator, models, kind) {
  mu <- predict(models[[1]], set_treatment(b))
  spread <- summary(models[[1]])$sigma
  base <- predict(models[[2]], transform(set_treatment(a), m_gauss = 0), type = "link")
  slope <- coef(models[[2]])[["m_gauss"]]
  inverse <- models[[2]]$family$linkinv
  mean(vapply(seq_len(N), function(i) {
    integrate(function(z) inverse(base[i] + slope * (mu[i] + spread * z)) * dnorm(z),
              -12, 12, rel.tol = 1e-12, abs.tol = 1e-14, subdivisions = 500L)$value
  }, 0))
}

pairs <- list(
  list("m_gauss", "m_gauss_gaussian", "y_bin_logit", normal_cell, "normal"),
  list("m_gauss", "m_gauss_gaussian", "y_bin_probit", normal_cell, "normal"),
  list("m_gauss", "m_gauss_gaussian", "y_count_poisson", normal_cell, "normal"),
  list("m_gauss", "m_gauss_gaussian", "y_over_negative_binomial", normal_cell, "normal"),
  list("m_bin", "m_bin_logit", "y_gauss_on_bin", discrete_cell, "binary"),
  list("m_bin", "m_bin_probit", "y_gauss_on_bin", discrete_cell, "binary"),
  list("m_bin", "m_bin_logit", "y_bin_logit_on_bin", discrete_cell, "binary"),
  list("m_bin", "m_bin_logit", "y_rare_log_binomial", discrete_cell, "binary"),
  list("m_count", "m_count_poisson", "y_gauss_on_count", discrete_cell, "poisson"),
  list("m_over", "m_over_negative_binomial", "y_bin_logit_on_over", discrete_cell,
       "negative_binomial"),
  list("m_ord", "m_ord_ordinal_logit", "y_gauss_on_ord", discrete_cell, "factor"),
  list("m_ord", "m_ord_ordinal_probit", "y_gauss_on_ord", discrete_cell, "factor"),
  list("m_cat", "m_cat_multinomial", "y_gauss_on_cat", discrete_cell, "factor"),
  list("m_cat", "m_cat_multinomial", "y_bin_logit_on_cat", discrete_cell, "factor")
)

cells <- lapply(pairs, function(pair) {
  models <- fits[c(pair[[2]], pair[[3]])]
  cell <- function(a, b) pair[[4]](a, b, pair[[1]], models, pair[[5]])
  list(mediator = pair[[2]], outcome = pair[[3]],
       y_0_m0 = cell(0, 0), y_0_m1 = cell(0, 1), y_1_m0 = cell(1, 0), y_1_m1 = cell(1, 1))
})

describe <- function(model) {
  variance <- unname(vcov(model))
  dimnames(variance) <- NULL
  is_multinomial <- inherits(model, "multinom")
  estimates <- if (is_multinomial) t(coef(model)) else coef(model)
  labels <- colnames(vcov(model))
  values <- c(as.vector(estimates), if (inherits(model, "polr")) unname(model$zeta))
  stopifnot(length(labels) == length(values), is.finite(values), is.finite(variance))
  c(
    list(
      formula = paste(deparse(formula(model), width.cutoff = 500L), collapse = " "),
      labels = labels, coefficients = unname(values),
      covariance = lapply(seq_along(values), function(i) variance[i, ]),
      log_likelihood = as.numeric(logLik(model))
    ),
    if (inherits(model, "negbin")) list(theta = model$theta, theta_std_error = model$SE.theta),
    if (inherits(model, "lm") && !inherits(model, "glm")) list(sigma = summary(model)$sigma)
  )
}

to_json <- function(value, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.list(value)) {
    named <- !is.null(names(value))
    body <- vapply(seq_along(value), function(i) {
      key <- if (named) sprintf("\"%s\": ", names(value)[i]) else ""
      paste0(deeper, key, to_json(value[[i]], deeper))
    }, "")
    marks <- if (named) c("{", "}") else c("[", "]")
    return(paste0(marks[1], "\n", paste(body, collapse = ",\n"), "\n", indent, marks[2]))
  }
  items <- if (is.character(value)) {
    sprintf("\"%s\"", value)
  } else if (is.integer(value)) {
    sprintf("%d", value)
  } else {
    sprintf("%.15g", value)
  }
  if (length(items) == 1) items else paste0("[", paste(items, collapse = ", "), "]")
}

columns <- lapply(data, function(column) {
  if (is.factor(column)) as.character(column) else column
})

document <- list(
  source = sprintf(
    "R %s: stats lm and glm, MASS %s polr and glm.nb, nnet %s multinom",
    as.character(getRversion()), as.character(packageVersion("MASS")),
    as.character(packageVersion("nnet"))
  ),
  seed = SEED,
  notes = list(
    general = paste("labels order coefficients and covariance; factors: first level is the base;",
                    "m_ord levels in order: none, some, much, most"),
    accuracy = paste("coefficients agree with statsmodels to 1e-9, log-binomial and ordinal to",
                     "2e-8, multinomial to 1e-7; covariances to a relative 3e-6"),
    glm = "covariance by expected information (matters for probit and log-binomial)",
    lm = "sigma and covariance use RSS / (n - p)",
    polr = paste("P(M <= k) = F(zeta_k - x'b): slopes first, then zeta;",
                 "covariance by numerical observed information"),
    glm_nb = "variance mu + mu^2 / theta; covariance of the coefficients holds theta fixed",
    multinom = "base category blue; labels are category:column",
    cells = paste("y_a_mb is the mean of Y(a, M(b)) over the rows; a normal mediator by adaptive",
                  "quadrature with sigma^2 = RSS / (n - p), a discrete one by its sum")
  ),
  data = columns,
  fits = lapply(fits, describe),
  cells = cells
)

writeLines(to_json(document), output)
