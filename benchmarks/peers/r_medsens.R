# Sensitivity to rho by R mediation's medsens, linear models: Rscript r_medsens.R mediation__jobs.csv
suppressMessages(library(mediation))
d <- read.csv(commandArgs(TRUE)[1])
run <- function(int, lev=0.95){
 m <- lm(job_seek ~ treat + econ_hard + sex + age, d)
 y <- if(int) lm(depress2 ~ treat*job_seek + econ_hard + sex + age, d) else lm(depress2 ~ treat + job_seek + econ_hard + sex + age, d)
 set.seed(1); med <- mediate(m, y, treat="treat", mediator="job_seek", sims=10)
 s <- medsens(med, rho.by=0.1, effect.type="both")
 print(data.frame(rho=s$rho, d0=c(s$d0), ld0=c(s$lower.d0), ud0=c(s$upper.d0), d1=c(s$d1), ld1=c(s$lower.d1), ud1=c(s$upper.d1), z0=c(s$z0), lz0=c(s$lower.z0), uz0=c(s$upper.z0), z1=c(s$z1)), digits=12)
 cat(s$r.square.m, s$r.square.y, "\n")
}
options(width=250)
run(FALSE); run(TRUE)
