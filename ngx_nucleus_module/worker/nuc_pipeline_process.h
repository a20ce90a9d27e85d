/*
 * The process of one pipeline.
 */

#ifndef NUC_PIPELINE_PROCESS_H
#define NUC_PIPELINE_PROCESS_H

#include "nuc_meter.h"
#include "nuc_process.h"
#include "nuc_worker_conf.h"

/*
 * Runs the pipeline until it is told to stop, opening it again after every error, with
 * backoff. Returns the exit status.
 */
int nuc_pipeline_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                         const nuc_pipeline_conf_t *pipeline, nuc_meter_t *meter);

#endif /* NUC_PIPELINE_PROCESS_H */
