# Exact mediation-formula figures (linear mediator, probit outcome) with glm run to convergence.
# Usage: Rscript r_converged.R FOLDER_WITH_TABLES > r_converged.json
tables <- commandArgs(trailingOnly = TRUE)[1]
control <- glm.control(epsilon = 1e-300, maxit = 500)
figures <- function(mediator, outcome, treat, m, data) {
  fm <- lm(mediator, data = data)
  fy <- glm(outcome, data = data, family = binomial("probit"), control = control)
  s2 <- summary(fm)$sigma^2
  cell <- function(a, b) {
    at <- data; at[[treat]] <- b; mu <- predict(fm, at)
    base <- data; base[[treat]] <- a; base[[m]] <- 0; eta0 <- predict(fy, base)
    base[[m]] <- 1; slope <- predict(fy, base) - eta0
    mean(pnorm((eta0 + slope * mu) / sqrt(1 + slope^2 * s2)))
  }
  y11 <- cell(1, 1); y10 <- cell(1, 0); y01 <- cell(0, 1); y00 <- cell(0, 0)
  values <- c(ACME0 = y01 - y00, ACME1 = y11 - y10, ADE0 = y10 - y00, ADE1 = y11 - y01, TE = y11 - y00)
  paste0("{", paste(sprintf("\"%s\": %.15g", names(values), values), collapse = ", "), "}")
}
jobs <- read.csv(file.path(tables, "mediation__jobs.csv"))
jobs$event <- as.numeric(jobs$work1 == "psyemp")
framing <- read.csv(file.path(tables, "mediation__framing.csv"))
cat("{\"source\": \"", R.version.string, ", glm run until its deviance no longer changes\",\n \"figures\": {\n", sep = "")
cat("  \"jobs_lm_probit\": ", figures(job_seek ~ treat + econ_hard + sex + age,
    event ~ treat + job_seek + econ_hard + sex + age, "treat", "job_seek", jobs), ",\n", sep = "")
cat("  \"framing_lm_probit\": ", figures(emo ~ treat + age + educ + gender + income,
    cong_mesg ~ emo + treat + age + educ + gender + income, "treat", "emo", framing), ",\n", sep = "")
cat("  \"framing_lm_probit_interaction\": ", figures(emo ~ treat + age + educ + gender + income,
    cong_mesg ~ emo * treat + age + educ + gender + income, "treat", "emo", framing), "\n }}\n", sep = "")
