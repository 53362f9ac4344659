/* A made-up CUDA driver for tests: as much as a round trip takes; device memory is the process's own.
 *
 *   FAKE_CUDA_DEVICES=2   number of devices (default 1)
 *   FAKE_CUDA_INIT=35     error that cuInit returns
 *   FAKE_CUDA_FULL=1      this device has no memory left
 *   FAKE_CUDA_WRONG=0     this device gives back other bytes than it was sent
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int current;

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value && *value ? atoi(value) : otherwise;
}

int cuInit(unsigned flags) { (void)flags; return number("FAKE_CUDA_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = number("FAKE_CUDA_DEVICES", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *text, int size, int device) { snprintf(text, (size_t)size, "Fake %d", device); return 0; }
int cuCtxCreate_v2(void **context, unsigned flags, int device) { (void)flags; current = device; *context = &current; return 0; }
int cuCtxDestroy_v2(void *context) { (void)context; return 0; }

int cuMemAlloc_v2(uint64_t *place, size_t size) {
    if (current == number("FAKE_CUDA_FULL", -1)) return 2;
    *place = (uint64_t)(uintptr_t)malloc(size);
    return 0;
}

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { memcpy((void *)(uintptr_t)to, from, size); return 0; }
int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t size) { return cuMemcpyHtoD_v2(to, (void *)(uintptr_t)from, size); }

int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    memcpy(to, (void *)(uintptr_t)from, size);
    if (current == number("FAKE_CUDA_WRONG", -1)) ((char *)to)[size / 2] ^= 1;
    return 0;
}

int cuGetErrorName(int code, const char **text) {
    *text = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 35 ? "CUDA_ERROR_INSUFFICIENT_DRIVER" : "CUDA_ERROR_UNKNOWN";
    return 0;
}
