/* The version of Nucleus.  t/version.t holds the packages' against it. */

#ifndef NUC_VERSION_H
#define NUC_VERSION_H

#define NUC_VERSION "0.1.0"

#endif /* NUC_VERSION_H */
