// The fibers behind emulation.h, and the table of kernels by name that the tests launch from.
#include "../kernels/basalt.cu"

#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#if !defined(__x86_64__)
#error "The fiber switch is written for x86-64."
#endif

extern "C" void emulation_switch(void** from, void* to);
// Saves the callee-saved registers on the old stack and takes them from the new one.
asm(R"(
.text
.globl emulation_switch
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

namespace emulation {
uint3_ blockIndex, gridSize, blockSize;
unsigned threadNumber;
unsigned char* dynamicShared;

namespace {
constexpr int THREADS_MAX = 1024;
constexpr size_t STACK_BYTES = 128 * 1024;

struct Group {  // the threads of a warp or of a block that meet at a barrier
    int live = 0, arrived = 0;
    unsigned generation = 0;

    bool arrive() {
        if (++arrived < live) return false;
        arrived = 0;
        generation++;
        return true;
    }
    void leave() {
        live--;
        if (live > 0 && arrived == live) {
            arrived = 0;
            generation++;
        }
    }
};

struct Warp : Group {
    uint32_t words[2][32][8];
};

Group block;
Warp warps[THREADS_MAX / 32];
unsigned char* stacks;
void* fibers[THREADS_MAX];  // saved stack pointers
bool isDone[THREADS_MAX];
void* scheduler;
void (*entry)(void (*)(), void**);
void (*kernel)();
void** arguments;

void yield() { emulation_switch(&fibers[threadNumber], scheduler); }

void wait(Group& group) {
    unsigned generation = group.generation;
    if (group.arrive()) return;
    while (group.generation == generation) yield();
}

void fiberMain() {
    entry(kernel, arguments);
    isDone[threadNumber] = true;
    block.leave();
    warps[threadNumber / 32].leave();
    yield();
    std::abort();
}

void runBlock() {
    int count = (int)blockSize.x;
    block = Group();
    block.live = count;
    for (int w = 0; w * 32 < count; w++) {
        (Group&)warps[w] = Group();
        warps[w].live = std::min(32, count - w * 32);
    }
    for (int i = 0; i < count; i++) {
        // Six registers and the return address; at its entry a function finds the stack 8 bytes off 16.
        void** top = (void**)(stacks + (i + 1) * STACK_BYTES) - 1;
        *--top = (void*)fiberMain;
        for (int r = 0; r < 6; r++) *--top = nullptr;
        fibers[i] = top;
        isDone[i] = false;
    }
    for (int left = count; left > 0;) {
        left = 0;
        for (int i = 0; i < count; i++) {
            if (isDone[i]) continue;
            threadNumber = (unsigned)i;
            emulation_switch(&scheduler, fibers[i]);
            left += !isDone[i];
        }
    }
}

template <typename... A, size_t... I>
void apply(void (*f)(A...), void** args, std::index_sequence<I...>) {
    f(*(std::remove_const_t<A>*)args[I]...);
}
template <typename... A>
void call(void (*f)(), void** args) {
    apply((void (*)(A...))f, args, std::index_sequence_for<A...>());
}

struct Kernel {
    void (*function)();
    void (*call)(void (*)(), void**);
};
template <typename... A>
Kernel kernelOf(void (*f)(A...)) {
    return {(void (*)())f, call<A...>};
}

#define KERNEL(name) {#name, kernelOf(name)}
const std::map<std::string, Kernel> KERNELS = {
#include "../kernels/kernels.inc"
};
}  // namespace

void blockBarrier() { wait(block); }
void warpBarrier() { wait(warps[threadNumber / 32]); }

const uint32_t (*exchange(const uint32_t* words, int count))[8] {
    Warp& warp = warps[threadNumber / 32];
    auto& buffer = warp.words[warp.generation & 1];
    std::memcpy(buffer[threadNumber % 32], words, count * sizeof(uint32_t));
    wait(warp);
    return buffer;
}
}  // namespace emulation

// Runs a kernel to its end. Returns 0, or 1 where there is no such kernel.
extern "C" int emulation_launch(const char* name, int gridX, int gridY, int gridZ, int threads, int sharedBytes,
                                void** args) {
    using namespace emulation;
    auto found = KERNELS.find(name);
    if (found == KERNELS.end()) return 1;
    if (!stacks) stacks = (unsigned char*)std::aligned_alloc(64, THREADS_MAX * STACK_BYTES);
    std::vector<unsigned char> shared(sharedBytes + 64, 0xff);
    dynamicShared = (unsigned char*)(((uintptr_t)shared.data() + 63) & ~(uintptr_t)63);
    kernel = found->second.function;
    entry = found->second.call;
    arguments = args;
    gridSize = {(unsigned)gridX, (unsigned)gridY, (unsigned)gridZ};
    blockSize = {(unsigned)threads, 1, 1};
    for (unsigned z = 0; z < gridSize.z; z++)
        for (unsigned y = 0; y < gridSize.y; y++)
            for (unsigned x = 0; x < gridSize.x; x++) {
                blockIndex = {x, y, z};
                runBlock();
            }
    return 0;
}
