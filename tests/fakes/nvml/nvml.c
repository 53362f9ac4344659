/* A made-up NVIDIA driver library for tests: as much of NVML as an inventory reads.
 *
 *   FAKE_NVML_GPUS=2     number of boards (default 1)
 *   FAKE_NVML_INIT=18    error that nvmlInit returns (9 driver not loaded, 18 version mismatch, 999 unknown, ...)
 *   FAKE_NVML_LOST=0     this board answers "GPU is lost" (15)
 *   FAKE_NVML_MIG=3      board 0 is in MIG mode, with so many instances
 *   FAKE_NVML_BUSY=1     90 % of this board's memory is held by others
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15 };
enum { BOARDS = 16, SLICES = 7 };

typedef struct { int board, slice; } device_t; /* slice -1: the board */
typedef struct { unsigned long long total, free, used; } memory_t;

static device_t devices[BOARDS][SLICES + 1];

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value && *value ? atoi(value) : otherwise;
}

static int lost(const device_t *device) { return device->board == number("FAKE_NVML_LOST", -1); }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    for (int board = 0; board < BOARDS; board++)
        for (int slice = -1; slice < SLICES; slice++)
            devices[board][slice + 1] = (device_t){board, slice};
    return number("FAKE_NVML_INIT", SUCCESS);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) {
    snprintf(text, size, "580.65.06");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = 13000;
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("FAKE_NVML_GPUS", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    if (index >= (unsigned)number("FAKE_NVML_GPUS", 1) || index >= BOARDS) return INVALID;
    *device = &devices[index][0];
    return lost(*device) ? LOST : SUCCESS;
}

int nvmlDeviceGetUUID(device_t *device, char *text, unsigned size) {
    if (device->slice < 0)
        snprintf(text, size, "GPU-%08d-0000-0000-0000-000000000000", device->board);
    else
        snprintf(text, size, "MIG-%08d-0000-0000-0000-%012d", device->board, device->slice);
    return SUCCESS;
}

int nvmlDeviceGetName(device_t *device, char *text, unsigned size) {
    (void)device;
    snprintf(text, size, "NVIDIA Fake 80GB");
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *memory) {
    memory->total = 80ULL << 30;
    if (device->slice >= 0) memory->total /= SLICES;
    memory->used = device->board == number("FAKE_NVML_BUSY", -1) ? memory->total / 10 * 9 : 0;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
    (void)device;
    *major = 9;
    *minor = 0;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
    if (device->board != 0 || !getenv("FAKE_NVML_MIG")) return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t *device, unsigned *count) {
    (void)device;
    *count = SLICES;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t *device, unsigned index, device_t **slice) {
    if (index >= (unsigned)number("FAKE_NVML_MIG", 0) || index >= SLICES) return NOT_FOUND;
    *slice = &devices[device->board][index + 1];
    return SUCCESS;
}
