# Natural effect models by R's medflex: coefficients and robust (sandwich) standard errors.
#
#   Rscript benchmarks/peers/r_medflex.R [output file]
#
# The data are drawn here and written into the output, so that a test needs nothing else. They
# imitate the layout of medflex's example (attachment, negative affect, unwanted pursuit), not its
# values. Columns are rounded before fitting.

suppressPackageStartupMessages(library(medflex))

SEED <- 20120L
N <- 385L
ROUNDED <- 4L

arguments <- commandArgs(trailingOnly = TRUE)
output <- if (length(arguments) >= 1) arguments[1] else "tests/reference/medflex.json"

draw_table <- function() {
  set.seed(SEED)
  gender <- sample(c("F", "M"), N, replace = TRUE, prob = c(0.6, 0.4))
  educ <- sample(c("H", "L", "M"), N, replace = TRUE, prob = c(0.5, 0.1, 0.4))
  age <- round(runif(N, 20, 65))
  man <- as.integer(gender == "M")
  att <- round(0.3 * man - 0.01 * (age - 40) + rnorm(N), ROUNDED)
  attbin <- rbinom(N, 1, plogis(-0.2 + 0.5 * man - 0.02 * (age - 40)))
  attcat <- cut(att + rnorm(N), c(-Inf, -0.7, 0.8, Inf), labels = c("h", "l", "m"))
  negaff <- round(0.5 * attbin + 0.3 * att - 0.2 * man + 0.01 * (age - 40) + rnorm(N), ROUNDED)
  anxiety <- round(0.4 * attbin + 0.4 * negaff + 0.2 * man + rnorm(N), ROUNDED)
  negaffbin <- rbinom(N, 1, plogis(-0.3 + 0.9 * attbin + 0.3 * att + 0.2 * man))
  episodes <- rpois(N, exp(0.2 + 0.4 * attbin + 0.2 * man))
  eta <- 0.4 * attbin + 0.5 * negaff + 0.3 * anxiety + 0.5 * negaffbin + 0.2 * episodes +
    0.2 * attbin * negaff + 0.3 * man + 0.2 * att * man - 0.01 * (age - 40)
  upb <- rbinom(N, 1, plogis(-1.4 + eta))
  score <- round(1 + eta + rnorm(N), ROUNDED)
  acts <- rpois(N, exp(-0.6 + 0.35 * eta))
  data.frame(att, attbin, attcat, negaff, anxiety, negaffbin, episodes, upb, score, acts,
             gender, educ, age)
}

plain <- draw_table()
data <- transform(plain, attbin = factor(attbin), gender = factor(gender), educ = factor(educ))
tight <- glm.control(epsilon = 1e-14, maxit = 100)
# neModel passes no control on, and its errors come from the last but one of glm's iterations
defaults <- stats::glm.control
formals(defaults)[c("epsilon", "maxit")] <- list(1e-14, 100)
assignInNamespace("glm.control", defaults, "stats")

describe <- function(kind, working, effects, fit) {
  table <- summary(fit)$coefficients
  list(
    kind = kind,
    working = paste(deparse(formula(working), width.cutoff = 500L), collapse = " "),
    working_family = paste(working$family$family, working$family$link),
    effects = paste(deparse(effects, width.cutoff = 500L), collapse = " "),
    link = fit$neModelFit$family$link,
    names = rownames(table),
    coefficients = unname(table[, 1]),
    std_errors = unname(table[, 2])
  )
}

# medflex looks its data up from the formula's environment, so it must read a formula it builds
unread <- function(formula) as.call(as.list(formula))

run <- function(kind, working_formula, working_family, effects, family, ..., decompose = NULL) {
  working <- eval(bquote(
    glm(.(working_formula), family = working_family, data = data, control = tight)
  ))
  expanded <- if (kind == "imputation") neImpute(working, ...) else neWeight(working, ...)
  fit <- eval(bquote(
    neModel(.(unread(effects)), family = family, expData = expanded, se = "robust")
  ))
  found <- describe(kind, working, effects, fit)
  if (!is.null(decompose)) {
    parts <- neEffdecomp(fit, covLev = decompose)
    table <- summary(parts)$coefficients
    found$decomposition <- list(
      at = decompose, names = rownames(table), coefficients = unname(table[, 1]),
      std_errors = unname(table[, 2])
    )
  }
  found
}

fits <- list(
  imputed_logit = run("imputation", upb ~ attbin * negaff + gender + educ + age, binomial(),
                      upb ~ attbin0 * attbin1 + gender + educ + age, binomial()),
  imputed_modified = run("imputation", upb ~ attbin * negaff * gender + educ + age, binomial(),
                         upb ~ attbin0 * attbin1 * gender + educ + age, binomial(),
                         decompose = c(gender = "M", educ = "H", age = "40")),
  imputed_probit = run("imputation", upb ~ attbin + negaff + gender + educ + age,
                       binomial("probit"), upb ~ attbin0 + attbin1 + gender + educ + age,
                       binomial()),
  imputed_linear = run("imputation", score ~ attbin * negaff + gender + educ + age, gaussian(),
                       score ~ attbin0 * attbin1 + gender + educ + age, gaussian()),
  imputed_log = run("imputation", acts ~ attbin * negaff + gender + age, poisson(),
                    acts ~ attbin0 * attbin1 + gender + age, poisson()),
  imputed_jointly = run("imputation",
                        upb ~ attbin + negaff + anxiety + attbin:negaff + attbin:anxiety +
                          negaff:anxiety + gender + educ + age,
                        binomial(), upb ~ attbin0 * attbin1 + gender + educ + age, binomial(),
                        nMed = 2),
  imputed_levels = run("imputation", upb ~ attcat * negaff + gender + educ + age, binomial(),
                       upb ~ attcat0 + attcat1 + gender + educ + age, binomial()),
  imputed_numeric = run("imputation", score ~ att + negaff + gender + educ + age, gaussian(),
                        score ~ att0 + att1 + gender + educ + age, gaussian()),
  weighted_binary = run("weighting", negaffbin ~ attbin + gender + educ + age, binomial(),
                        upb ~ attbin0 * attbin1 + gender + educ + age, binomial()),
  weighted_binary_probit = run("weighting", negaffbin ~ attbin + gender + age, binomial("probit"),
                               upb ~ attbin0 + attbin1 + gender + age, binomial()),
  weighted_linear = run("weighting", negaffbin ~ attbin * gender + educ + age, binomial(),
                        score ~ attbin0 * attbin1 + gender + educ + age, gaussian()),
  weighted_count = run("weighting", episodes ~ attbin + gender + age, poisson(),
                       acts ~ attbin0 * attbin1 + gender + age, poisson()),
  weighted_levels = run("weighting", negaffbin ~ attcat + gender + educ + age, binomial(),
                        upb ~ attcat0 + attcat1 + gender + educ + age, binomial()),
  weighted_normal = run("weighting", negaff ~ attbin + gender + educ + age, gaussian(),
                        upb ~ attbin0 * attbin1 + gender + educ + age, binomial())
)

to_json <- function(value, indent = "") {
  deeper <- paste0(indent, " ")
  if (is.list(value)) {
    body <- vapply(seq_along(value), function(i) {
      paste0(deeper, sprintf("\"%s\": ", names(value)[i]), to_json(value[[i]], deeper))
    }, "")
    return(paste0("{\n", paste(body, collapse = ",\n"), "\n", indent, "}"))
  }
  items <- if (is.character(value)) {
    sprintf("\"%s\"", value)
  } else if (is.integer(value)) {
    sprintf("%d", value)
  } else {
    sprintf("%.15g", value)
  }
  if (length(items) == 1 && is.null(names(value))) return(items)
  paste0("[", paste(items, collapse = ", "), "]")
}

columns <- lapply(plain, function(column) if (is.factor(column)) as.character(column) else column)
for (name in names(fits)) {
  if (!is.null(fits[[name]]$decomposition)) {
    fits[[name]]$decomposition$at <- as.list(fits[[name]]$decomposition$at)
  }
}

writeLines(to_json(list(
  source = sprintf(
    "R %s, medflex %s at commit %s, sandwich %s", as.character(getRversion()),
    as.character(packageVersion("medflex")), Sys.getenv("MEDFLEX_COMMIT", "unknown"),
    as.character(packageVersion("sandwich"))
  ),
  seed = SEED,
  notes = list(
    names = "treatment copies: name0 is direct, name1 indirect; a factor's level follows",
    accuracy = "glm fits with a tolerance of 1e-14 in deviance",
    probit = "standard errors use the expected information of the working model, not the observed",
    weighted_normal = "its standard errors hold the mediator's residual variance as known"
  ),
  data = columns,
  fits = fits
)), output)
