/*
 * nucleusctl: the program.
 */

#include "nuc_ctl.h"

int main(int argc, char **argv)
{
    return nuc_ctl_run(argc, argv);
}
