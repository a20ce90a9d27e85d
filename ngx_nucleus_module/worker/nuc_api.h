/*
 * The local API: HTTP over a Unix socket, in a process of its own, so that nothing that
 * is asked of it can hold up a pipeline.  It reads what the others have left in files and
 * in shared memory, and changes nothing.
 */

#ifndef NUC_API_H
#define NUC_API_H

#include "nuc_metrics.h"
#include "nuc_process.h"
#include "nuc_worker_conf.h"

#define NUC_API_NAME "api"

/*
 * Until it is told to stop; a socket that cannot be made is tried again.  "metered": all
 * children of the supervisor.  Returns the exit status.
 */
int nuc_api_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                    const nuc_metered_t *metered, size_t count);

#endif /* NUC_API_H */
