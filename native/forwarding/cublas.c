// libcublas.so.12 for JCublas, on top of libcublas.so.13: no signature that it uses differs between the two. Every
// symbol is a jump through a table that is filled when the library is loaded; libcublas.so.13 must be loadable then.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "symbols.h"

static const char *const names[SYMBOLS] = {NAMES};

__attribute__((visibility("hidden"))) void *basalt_targets[SYMBOLS];

static void missing(void) {
    fprintf(stderr, "basalt: a cuBLAS function that JCublas calls is not in libcublas.so.13\n");
    abort();
}

__attribute__((constructor)) static void fill(void) {
    void *library = dlopen("libcublas.so.13", RTLD_NOW | RTLD_GLOBAL);
    for (int i = 0; i < SYMBOLS; i++) {
        void *target = library ? dlsym(library, names[i]) : NULL;
        basalt_targets[i] = target ? target : (void *)missing;
    }
}

#define TRAMPOLINE(name, index)                  \
    __asm__(".text\n"                            \
            ".globl " #name "\n"                 \
            ".type " #name ", @function\n" #name \
            ":\n"                                \
            "    jmp *basalt_targets+8*" #index "(%rip)\n");

TRAMPOLINES
