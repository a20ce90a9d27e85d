/*
 * Values of options: times, limits, certificates.
 */

#ifndef NUC_CTL_VALUE_H
#define NUC_CTL_VALUE_H

#include "nuc_ctl.h"

/*
 * "2026-12-31", "2026-12-31T12:00:00Z" (UTC, also without seconds), "@SECONDS", or "30d":
 * so long after "now" (seconds), or before it when "ago".  NUC_INVALID.
 */
nuc_rc_t nuc_value_time(const char *text, uint64_t now, int ago, uint64_t *seconds,
                        nuc_err_t *err);

/* "7d".  NUC_INVALID. */
nuc_rc_t nuc_value_duration(const char *text, uint64_t *ms, nuc_err_t *err);

/* The options --requests, --events, --bytes, and those of quotas where a command has
 * them. */
nuc_rc_t nuc_value_limits(const nuc_ctl_t *ctl, nuc_registry_limits_t *limits,
                          nuc_err_t *err);

/* SHA-256 (DER) of the first certificate in a PEM file. */
nuc_rc_t nuc_value_certificate(const nuc_sys_t *sys, const char *path, uint8_t sha256[32],
                               nuc_err_t *err);

#endif /* NUC_CTL_VALUE_H */
