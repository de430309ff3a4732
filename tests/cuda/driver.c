// A libcuda.so.1 for tests: an NVIDIA GPU that has memory and runs nothing.
//
// It answers as the driver of one GPU with the compute capability of X2I_SM (90 if it is not set) and CUDA 12.9. Memory
// is the host's and starts as zeros, copies are made, kernels are not run. Each module that is loaded is written to
// the folder X2I_PTX as NUMBER.ptx, so that a program that runs on this GPU leaves every kernel that it would launch.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Status;
typedef uint64_t Address;
enum { SUCCESS = 0, OUT_OF_MEMORY = 2, NOT_FOUND = 500 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int modules = 0;

static int capability(void) {
    const char *set = getenv("X2I_SM");
    return set ? atoi(set) : 90;
}

Status cuInit(unsigned flags) { return SUCCESS; }
Status cuDriverGetVersion(int *version) { *version = 12090; return SUCCESS; }
Status cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
Status cuDeviceGet(int *device, int ordinal) { *device = ordinal; return SUCCESS; }
Status cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "NVIDIA test GPU");
    return SUCCESS;
}
Status cuDeviceGetPCIBusId(char *id, int length, int device) {
    snprintf(id, length, "0000:01:00.0");
    return SUCCESS;
}
Status cuDeviceGetUuid(void *uuid, int device) { memset(uuid, 7, 16); return SUCCESS; }
Status cuDeviceGetUuid_v2(void *uuid, int device) { return cuDeviceGetUuid(uuid, device); }
Status cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)24 << 30; return SUCCESS; }
Status cuMemGetInfo_v2(size_t *left, size_t *total) {
    *left = *total = (size_t)24 << 30;
    return SUCCESS;
}

// The numbers are CUdevice_attribute's; the values an H100's.
Status cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: *value = 1024; break;                // threads of a block
    case 2: case 3: *value = 1024; break;        // its x and y
    case 4: *value = 64; break;                  // its z
    case 5: *value = 0x7fffffff; break;          // blocks along x
    case 6: case 7: *value = 65535; break;       // along y and z
    case 8: *value = 49152; break;               // shared memory of a block
    case 10: *value = 32; break;                 // threads of a warp
    case 16: *value = 132; break;                // multiprocessors
    case 75: *value = capability() / 10; break;
    case 76: *value = capability() % 10; break;
    case 97: *value = 232448; break;             // shared memory of a block on request
    case 115: *value = 1; break;                 // memory pools
    default: *value = 0;
    }
    return SUCCESS;
}

Status cuDevicePrimaryCtxRetain(void **context, int device) { *context = &lock; return SUCCESS; }
Status cuDevicePrimaryCtxRelease_v2(int device) { return SUCCESS; }
Status cuCtxSetCurrent(void *context) { return SUCCESS; }
Status cuCtxGetCurrent(void **context) { *context = &lock; return SUCCESS; }
Status cuCtxSynchronize(void) { return SUCCESS; }
Status cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return SUCCESS; }

Status cuStreamCreate(void **stream, unsigned flags) { *stream = &modules; return SUCCESS; }
Status cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return cuStreamCreate(stream, flags); }
Status cuStreamDestroy_v2(void *stream) { return SUCCESS; }
Status cuStreamSynchronize(void *stream) { return SUCCESS; }
Status cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return SUCCESS; }
Status cuStreamQuery(void *stream) { return SUCCESS; }
Status cuEventCreate(void **event, unsigned flags) { *event = &modules; return SUCCESS; }
Status cuEventDestroy_v2(void *event) { return SUCCESS; }
Status cuEventRecord(void *event, void *stream) { return SUCCESS; }
Status cuEventSynchronize(void *event) { return SUCCESS; }
Status cuEventQuery(void *event) { return SUCCESS; }
Status cuEventElapsedTime(float *ms, void *from, void *to) { *ms = 1; return SUCCESS; }
Status cuEventElapsedTime_v2(float *ms, void *from, void *to) { *ms = 1; return SUCCESS; }

Status cuMemAlloc_v2(Address *address, size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    *address = (Address)memory;
    return memory ? SUCCESS : OUT_OF_MEMORY;
}
Status cuMemAllocAsync(Address *address, size_t bytes, void *stream) { return cuMemAlloc_v2(address, bytes); }
Status cuMemFree_v2(Address address) { free((void *)address); return SUCCESS; }
Status cuMemFreeAsync(Address address, void *stream) { return cuMemFree_v2(address); }
Status cuMemAllocHost_v2(void **memory, size_t bytes) {
    *memory = calloc(1, bytes ? bytes : 1);
    return *memory ? SUCCESS : OUT_OF_MEMORY;
}
Status cuMemFreeHost(void *memory) { free(memory); return SUCCESS; }
Status cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, void *stream) {
    memcpy((void *)to, from, bytes);
    return SUCCESS;
}
Status cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, void *stream) {
    memcpy(to, (void *)from, bytes);
    return SUCCESS;
}
Status cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void *stream) {
    memmove((void *)to, (void *)from, bytes);
    return SUCCESS;
}
Status cuMemsetD8Async(Address to, unsigned char byte, size_t bytes, void *stream) {
    memset((void *)to, byte, bytes);
    return SUCCESS;
}

// One end of CUDA_MEMCPY2D.
struct End {
    size_t x, y;
    int kind; // 1 is the host
    const void *host;
    Address device;
    void *array;
    size_t pitch;
};
struct Copy {
    struct End from, to;
    size_t width, height;
};
static char *start(const struct End *end) {
    char *first = end->kind == 1 ? (char *)end->host : (char *)end->device;
    return first + end->y * end->pitch + end->x;
}
Status cuMemcpy2DAsync_v2(const struct Copy *copy, void *stream) {
    for (size_t row = 0; row < copy->height; row++)
        memcpy(start(&copy->to) + row * copy->to.pitch, start(&copy->from) + row * copy->from.pitch, copy->width);
    return SUCCESS;
}

Status cuModuleLoadData(void **module, const void *image) {
    const char *folder = getenv("X2I_PTX");
    if (folder) {
        char path[4096];
        pthread_mutex_lock(&lock);
        snprintf(path, sizeof path, "%s/%04d.ptx", folder, modules++);
        FILE *file = fopen(path, "wx");
        if (file) {
            fputs(image, file);
            fclose(file);
        }
        pthread_mutex_unlock(&lock);
        if (!file) return NOT_FOUND;
    }
    *module = &modules;
    return SUCCESS;
}
Status cuModuleGetFunction(void **function, void *module, const char *name) { *function = &modules; return SUCCESS; }
Status cuModuleUnload(void *module) { return SUCCESS; }
Status cuFuncSetAttribute(void *function, int attribute, int value) { return SUCCESS; }
Status cuFuncGetAttribute(int *value, int attribute, void *function) { *value = 0; return SUCCESS; }
Status cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **arguments, void **extra) {
    return SUCCESS;
}
Status cuLaunchKernelEx(const void *config, void *function, void **arguments, void **extra) { return SUCCESS; }

Status cuGetErrorName(Status status, const char **name) { *name = "an error of the test's driver"; return SUCCESS; }
Status cuGetErrorString(Status status, const char **text) { return cuGetErrorName(status, text); }
