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

constexpr int NAMED_BARRIERS = 4;

// A block that runs, or waits for its turn.
struct Block {
    uint3_ index;
    int threads;
    Group all, named[NAMED_BARRIERS];
    Warp warps[THREADS_MAX / 32];
    std::vector<unsigned char> shared;
    unsigned char* stacks;
    std::vector<void*> fibers;  // saved stack pointers
    std::vector<bool> isDone;
    std::vector<const Group*> awaited;  // by each thread, null for none
    std::vector<unsigned> generations;  // of what it awaits, while it must wait
};

Block* block;  // the one that runs
void* scheduler;
void (*entry)(void (*)(), void**);
void (*kernel)();
void** arguments;

void yield() { emulation_switch(&block->fibers[threadNumber], scheduler); }

void wait(Group& group) {
    unsigned generation = group.generation;
    if (group.arrive()) return;
    block->awaited[threadNumber] = &group;
    block->generations[threadNumber] = generation;
    yield();
}

void fiberMain() {
    entry(kernel, arguments);
    block->isDone[threadNumber] = true;
    block->all.leave();
    block->warps[threadNumber / 32].leave();
    yield();
    std::abort();
}

void start(Block& b, uint3_ index, int threads, int sharedBytes, unsigned char* stacks) {
    b.index = index;
    b.threads = threads;
    b.all = Group();
    b.all.live = threads;
    for (Group& group : b.named) group = Group();
    for (int w = 0; w * 32 < threads; w++) {
        (Group&)b.warps[w] = Group();
        b.warps[w].live = std::min(32, threads - w * 32);
    }
    b.shared.resize(sharedBytes + 64);
    b.stacks = stacks;
    b.fibers.resize(threads);
    b.isDone.assign(threads, false);
    b.awaited.assign(threads, nullptr);
    b.generations.resize(threads);
    for (int i = 0; i < threads; i++) {
        // Six registers and the return address; at its entry a function finds the stack 8 bytes off 16.
        void** top = (void**)(stacks + (i + 1) * STACK_BYTES) - 1;
        *--top = (void*)fiberMain;
        for (int r = 0; r < 6; r++) *--top = nullptr;
        b.fibers[i] = top;
    }
}

// Lets every thread run until it waits; returns whether any is left.
bool runOnce(Block& b) {
    block = &b;
    blockIndex = b.index;
    dynamicShared = (unsigned char*)(((uintptr_t)b.shared.data() + 63) & ~(uintptr_t)63);
    bool isLeft = false;
    for (int i = 0; i < b.threads; i++) {
        if (b.isDone[i]) continue;
        if (b.awaited[i]) {
            isLeft = true;
            if (b.awaited[i]->generation == b.generations[i]) continue;
            b.awaited[i] = nullptr;
        }
        threadNumber = (unsigned)i;
        emulation_switch(&scheduler, b.fibers[i]);
        isLeft |= !b.isDone[i];
    }
    return isLeft;
}

unsigned char* stacksOf(int blocks) {
    static std::vector<unsigned char*> all;
    while ((int)all.size() < blocks) all.push_back((unsigned char*)std::aligned_alloc(64, THREADS_MAX * STACK_BYTES));
    return all[blocks - 1];
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
    bool isInTurn;  // whether its blocks wait for each other
};
template <typename... A>
Kernel kernelOf(void (*f)(A...), bool isInTurn) {
    return {(void (*)())f, call<A...>, isInTurn};
}

#define KERNEL(name) {#name, kernelOf(name, false)}
#define GRID_KERNEL(name) {#name, kernelOf(name, true)}
const std::map<std::string, Kernel> KERNELS = {
#include "../kernels/kernels.inc"
};
}  // namespace

void blockBarrier() { wait(block->all); }
void warpBarrier() { wait(block->warps[threadNumber / 32]); }
void pause() { yield(); }

void namedBarrier(int name, int threads) {
    block->named[name].live = threads;
    wait(block->named[name]);
}

const uint32_t (*exchange(const uint32_t* words, int count))[8] {
    Warp& warp = block->warps[threadNumber / 32];
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
    kernel = found->second.function;
    entry = found->second.call;
    arguments = args;
    gridSize = {(unsigned)gridX, (unsigned)gridY, (unsigned)gridZ};
    blockSize = {(unsigned)threads, 1, 1};
    std::vector<Block> blocks(found->second.isInTurn ? gridX * gridY * gridZ : 1);
    int started = 0;
    for (unsigned z = 0; z < gridSize.z; z++)
        for (unsigned y = 0; y < gridSize.y; y++)
            for (unsigned x = 0; x < gridSize.x; x++) {
                Block& b = blocks[started % blocks.size()];
                start(b, {x, y, z}, threads, sharedBytes, stacksOf(started % (int)blocks.size() + 1));
                started++;
                if (blocks.size() == 1) {
                    while (runOnce(b)) {
                    }
                }
            }
    for (bool isLeft = blocks.size() > 1; isLeft;) {
        isLeft = false;
        for (Block& b : blocks) isLeft |= runOnce(b);
    }
    return 0;
}
