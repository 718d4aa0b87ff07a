#!/bin/sh
# Prints the folder of the CUDA that this machine builds kernels with, or nothing if it cannot.
for program in nvcc g++ nm unzip; do
    command -v $program >/dev/null 2>&1 || exit 0
done
folder=$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p' | head -n 1)
[ ! -d "$folder" ] || (CDPATH='' cd -- "$folder" && pwd -P)
