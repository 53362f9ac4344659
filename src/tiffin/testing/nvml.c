/* A made-up NVIDIA driver library for tests: as much of NVML as Tiffin asks.
 *
 * Everything is set by environment variables. A value that begins with "/" is the path of a file whose content is the value, read
 * anew at every call (a file that is not there is empty): so a running process can be shown a change.
 *
 * Lists have one entry per board, separated by commas; the last one stands for all further boards; "-" means that the board does
 * not support the question.
 *
 *   FAKE_NVML_GPUS=2                  number of boards (default 1)
 *   FAKE_NVML_INIT=18                 error that nvmlInit returns (9 driver not loaded, 18 version mismatch, 999 unknown, ...)
 *   FAKE_NVML_DRIVER=580.65.06        driver version
 *   FAKE_NVML_CUDA=13000              newest CUDA version of the driver
 *   FAKE_NVML_LOST=0,2                these boards answer "GPU is lost" (15) to everything
 *   FAKE_NVML_HANG=1                  calls about a device do not return while this is set (use a file)
 *   FAKE_NVML_UNSUPPORTED=nvmlDeviceGetPowerUsage,...   these functions answer "Not Supported"
 *
 *   FAKE_NVML_SERIES=12ab             second part of every uuid (default 0000), for tests that must not meet each other's devices
 *   FAKE_NVML_NAMES=NVIDIA A100-SXM4-80GB,NVIDIA L4     list
 *   FAKE_NVML_MEMORY=81920,23034      list, MiB in all (default 81920)
 *   FAKE_NVML_USED=100                list, MiB held by nobody in particular (default 0)
 *   FAKE_NVML_BUSY=1                  90 % of this one board's memory is held
 *   FAKE_NVML_CAPABILITY=9.0,8.9      list, CUDA compute capability
 *   FAKE_NVML_MODE=default            list, compute mode: default, exclusive, thread, prohibited
 *   FAKE_NVML_BUS=00000000:01:00.0    list, PCI address (default: bus number = board + 1)
 *   FAKE_NVML_MINOR=0                 list, the N of /dev/nvidiaN (default: the board's number)
 *   FAKE_NVML_NUMA=0,1                list, NUMA node of nvmlDeviceGetMemoryAffinity (default: not supported)
 *   FAKE_NVML_UTILIZATION=93          list, % (default 0)
 *   FAKE_NVML_MEMORY_UTILIZATION=40   list, % (default 0)
 *   FAKE_NVML_TEMPERATURE=45          list, degrees Celsius (default 40)
 *   FAKE_NVML_POWER=250               list, W (default 60)
 *   FAKE_NVML_POWER_LIMIT=400         list, W (default 400)
 *   FAKE_NVML_THROTTLE=4              list, bits of why the clocks are lowered (default 0)
 *   FAKE_NVML_ECC=0                   list, uncorrected errors since the driver was loaded (default 0)
 *   FAKE_NVML_ECC_CORRECTED=0         list, corrected ones
 *   FAKE_NVML_PERSISTENCE=1           list, whether the driver stays awake
 *   FAKE_NVML_REMAPPED=0              list, rows that were remapped after uncorrected errors
 *
 *   FAKE_NVML_MIG=3                   board 0 is in MIG mode, with so many instances of a seventh each; or the instances' profiles,
 *                                     separated by commas: 3g.40gb,1g.10gb; boards are separated by semicolons: 2;;1g.10gb
 *
 *   FAKE_NVML_PROCESSES=/tmp/p        lines (or entries separated by semicolons) "board pid MiB", or "board/slice pid MiB"; a MiB of
 *                                     "-" is not told; the memory counts as used
 *   FAKE_NVML_XID=/tmp/x              lines "board xid": those that are appended after an event set was made are its events
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, LOST = 15 };
enum { BOARDS = 16, SLICES = 7, TEXT = 8192, XID_EVENT = 8 };
static const unsigned long long MIB = 1ULL << 20, UNKNOWN_MEMORY = ~0ULL;
static const unsigned NO_INSTANCE = ~0U;

typedef struct { int board, slice; } device_t; /* slice -1: the board */
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned gpu, memory; } rates_t;
typedef struct { unsigned pid; unsigned long long memory; unsigned instance, compute_instance; } process_t;
typedef struct {
    char legacy_id[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char id[32];
} pci_t;
typedef struct { device_t *device; unsigned long long type, data; unsigned instance, compute_instance; } event_t;
typedef struct { unsigned boards; int seen; } events_t; /* boards: one bit each; seen: lines that are over */

static device_t devices[BOARDS][SLICES + 1];

/* -- settings ---------------------------------------------------------------------------------------------------------------- */

/* Return a setting's text in `into`, "" where it is not set. */
static const char *text(const char *name, char into[TEXT]) {
    const char *value = getenv(name);
    into[0] = 0;
    if (!value) return into;
    if (value[0] != '/') {
        snprintf(into, TEXT, "%s", value);
        return into;
    }
    int file = open(value, O_RDONLY | O_CLOEXEC);
    if (file < 0) return into;
    ssize_t size = read(file, into, TEXT - 1);
    close(file);
    into[size < 0 ? 0 : size] = 0;
    while (size > 0 && isspace((unsigned char)into[size - 1])) into[--size] = 0;
    return into;
}

static int number(const char *name, int otherwise) {
    char value[TEXT];
    return *text(name, value) ? atoi(value) : otherwise;
}

/* Copy the entry of a board into `into` (the last entry where there are fewer); return whether there is any. */
static int entry(const char *name, int board, char separator, int repeat, char into[TEXT]) {
    char all[TEXT];
    const char *at = text(name, all);
    into[0] = 0;
    if (!*at) return 0;
    for (; board > 0; board--) {
        const char *next = strchr(at, separator);
        if (!next && repeat) break;
        if (!next) return 0;
        at = next + 1;
    }
    size_t size = strcspn(at, (char[]){separator, 0});
    snprintf(into, TEXT, "%.*s", (int)size, at);
    return 1;
}

/* Put a board's number into `into`. */
static int figure(const char *name, const device_t *device, double otherwise, double *into) {
    char value[TEXT];
    *into = otherwise;
    if (entry(name, device->board, ',', 1, value) && *value) {
        if (value[0] == '-' && !value[1]) return NOT_SUPPORTED;
        *into = strncmp(value, "0x", 2) ? atof(value) : (double)strtoull(value, NULL, 16);
    }
    return SUCCESS;
}

static int listed(const char *name, int board) {
    char all[TEXT], *rest = all;
    text(name, all);
    for (char *at; (at = strsep(&rest, ", \n"));)
        if (*at && atoi(at) == board) return 1;
    return 0;
}

/* What every question about a device begins with. */
static int check(const device_t *device, const char *function) {
    char value[TEXT];
    while (*text("FAKE_NVML_HANG", value)) usleep(20000);
    if (listed("FAKE_NVML_LOST", device->board)) return LOST;
    const char *found = strstr(text("FAKE_NVML_UNSUPPORTED", value), function);
    if (found && (found[strlen(function)] == ',' || !found[strlen(function)])) return NOT_SUPPORTED;
    return SUCCESS;
}

#define CHECK(device)                                                                                                              \
    do {                                                                                                                           \
        int code = check(device, __func__);                                                                                        \
        if (code) return code;                                                                                                     \
    } while (0)

/* A question that only a whole board answers; one in MIG mode does not tell its utilization. */
#define FIGURE(device, name, otherwise, into, factor)                                                                              \
    do {                                                                                                                           \
        double value;                                                                                                              \
        CHECK(device);                                                                                                             \
        if ((device)->slice >= 0 || figure(name, device, otherwise, &value)) return NOT_SUPPORTED;                                 \
        *(into) = value * (factor);                                                                                                \
    } while (0)

/* -- MIG --------------------------------------------------------------------------------------------------------------------- */

/* Return how many instances a board has, -1 where it is not in MIG mode. */
static int instances(int board) {
    char value[TEXT];
    if (!getenv("FAKE_NVML_MIG") || !entry("FAKE_NVML_MIG", board, ';', 0, value) || !*value) return -1;
    if (!strchr(value, 'g')) return atoi(value);
    int count = 1;
    for (const char *at = value; *at; at++) count += *at == ',';
    return count;
}

/* Put the profile of a slice into `into`, "" where only their number was given. */
static void profile(const device_t *slice, char into[TEXT]) {
    char value[TEXT];
    into[0] = 0;
    if (!entry("FAKE_NVML_MIG", slice->board, ';', 0, value) || !strchr(value, 'g')) return;
    const char *at = value;
    for (int left = slice->slice; left > 0 && at; left--) {
        at = strchr(at, ',');
        if (at) at++;
    }
    if (at) snprintf(into, TEXT, "%.*s", (int)strcspn(at, ","), at);
}

static int is_sliced(const device_t *device) { return device->slice < 0 && instances(device->board) >= 0; }

/* -- processes --------------------------------------------------------------------------------------------------------------- */

/* Collect the processes of a board (with those of its slices) or of a slice; return how many. */
static int processes(const device_t *device, process_t *into, int room) {
    char all[TEXT], *rest = all;
    int count = 0;
    text("FAKE_NVML_PROCESSES", all);
    for (char *line; (line = strsep(&rest, "\n;"));) {
        int board, slice = -1, pid;
        char memory[32];
        if (sscanf(line, "%d/%d %d %31s", &board, &slice, &pid, memory) != 4) {
            slice = -1;
            if (sscanf(line, "%d %d %31s", &board, &pid, memory) != 3) continue;
        }
        if (board != device->board || (device->slice >= 0 && slice != device->slice)) continue;
        if (count < room)
            into[count] = (process_t){(unsigned)pid, memory[0] == '-' ? UNKNOWN_MEMORY : strtoull(memory, NULL, 10) * MIB,
                                      slice < 0 ? NO_INSTANCE : (unsigned)slice + 1, slice < 0 ? NO_INSTANCE : 0};
        count++;
    }
    return count;
}

static int list_processes(const device_t *device, unsigned *count, process_t *into) {
    process_t found[64];
    int there = processes(device, found, 64);
    unsigned room = *count;
    *count = (unsigned)there;
    if (there && (unsigned)there > room) return INSUFFICIENT_SIZE;
    if (there && !into) return INSUFFICIENT_SIZE;
    if (there) memcpy(into, found, (size_t)there * sizeof *into);
    return SUCCESS;
}

/* -- the library ------------------------------------------------------------------------------------------------------------- */

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    for (int board = 0; board < BOARDS; board++)
        for (int slice = -1; slice < SLICES; slice++) devices[board][slice + 1] = (device_t){board, slice};
    return number("FAKE_NVML_INIT", SUCCESS);
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case 3: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case 10: return "Timeout";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *into, unsigned size) {
    char value[TEXT];
    snprintf(into, size, "%s", *text("FAKE_NVML_DRIVER", value) ? value : "580.65.06");
    return SUCCESS;
}

int nvmlSystemGetNVMLVersion(char *into, unsigned size) {
    snprintf(into, size, "13.580.65.06");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = number("FAKE_NVML_CUDA", 13000);
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("FAKE_NVML_GPUS", 1);
    if (*count > BOARDS) *count = BOARDS;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **device) {
    unsigned count;
    nvmlDeviceGetCount_v2(&count);
    if (index >= count) return INVALID;
    *device = &devices[index][0];
    CHECK(*device);
    return SUCCESS;
}

int nvmlDeviceGetUUID(device_t *device, char *into, unsigned size) {
    char series[TEXT];
    CHECK(device);
    if (!*text("FAKE_NVML_SERIES", series)) snprintf(series, TEXT, "0000");
    if (device->slice < 0)
        snprintf(into, size, "GPU-%08d-%.4s-0000-0000-000000000000", device->board, series);
    else
        snprintf(into, size, "MIG-%08d-%.4s-0000-0000-%012d", device->board, series, device->slice);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t **device) {
    unsigned count;
    char own[96];
    nvmlDeviceGetCount_v2(&count);
    for (unsigned board = 0; board < count; board++)
        for (int slice = -1; slice < instances((int)board) || slice < 0; slice++) {
            device_t *candidate = &devices[board][slice + 1];
            if (nvmlDeviceGetUUID(candidate, own, sizeof own) == SUCCESS && !strcmp(own, uuid)) {
                *device = candidate;
                return SUCCESS;
            }
        }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(device_t *device, unsigned *index) {
    CHECK(device);
    *index = (unsigned)(device->slice < 0 ? device->board : device->slice);
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(device_t *device, unsigned *minor) {
    FIGURE(device, "FAKE_NVML_MINOR", device->board, minor, 1);
    return SUCCESS;
}

int nvmlDeviceGetName(device_t *device, char *into, unsigned size) {
    char name[TEXT], part[TEXT] = "";
    CHECK(device);
    if (!entry("FAKE_NVML_NAMES", device->board, ',', 1, name)) snprintf(name, TEXT, "NVIDIA Fake 80GB");
    if (device->slice >= 0) profile(device, part);
    snprintf(into, size, "%.64s%s%.16s", name, *part ? " MIG " : "", part);
    return SUCCESS;
}

static void memory_of(const device_t *device, memory_t *memory) {
    double total, used;
    char part[TEXT] = "";
    process_t found[64];
    figure("FAKE_NVML_MEMORY", device, 81920, &total);
    figure("FAKE_NVML_USED", device, 0, &used);
    memory->total = (unsigned long long)total * MIB;
    memory->used = (unsigned long long)used * MIB;
    if (device->slice >= 0) {
        profile(device, part);
        const char *size = strrchr(part, '.');
        memory->total = size ? strtoull(size + 1, NULL, 10) << 30 : memory->total / SLICES;
        memory->used = 0;
    }
    if (device->board == number("FAKE_NVML_BUSY", -1)) memory->used = memory->total / 10 * 9;
    for (int left = processes(device, found, 64); left-- > 0;)
        if (found[left].memory != UNKNOWN_MEMORY) memory->used += found[left].memory;
    if (memory->used > memory->total) memory->used = memory->total;
    memory->free = memory->total - memory->used;
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *memory) {
    CHECK(device);
    memory_of(device, memory);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(device_t *device, memory_v2_t *memory) {
    memory_t found;
    CHECK(device);
    memory_of(device, &found);
    memory->total = found.total;
    memory->reserved = 0;
    memory->free = found.free;
    memory->used = found.used;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor) {
    char value[TEXT];
    CHECK(device);
    *major = 9;
    *minor = 0;
    if (entry("FAKE_NVML_CAPABILITY", device->board, ',', 1, value)) sscanf(value, "%d.%d", major, minor);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned *current, unsigned *pending) {
    CHECK(device);
    if (!is_sliced(device)) return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(device_t *device, unsigned *count) {
    CHECK(device);
    *count = SLICES;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device_t *device, unsigned index, device_t **slice) {
    CHECK(device);
    if ((int)index >= instances(device->board) || index >= SLICES) return NOT_FOUND;
    *slice = &devices[device->board][index + 1];
    return SUCCESS;
}

int nvmlDeviceIsMigDeviceHandle(device_t *device, unsigned *is) {
    *is = device->slice >= 0;
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_t *slice, device_t **board) {
    CHECK(slice);
    *board = &devices[slice->board][0];
    return SUCCESS;
}

int nvmlDeviceGetGpuInstanceId(device_t *device, unsigned *id) {
    CHECK(device);
    if (device->slice < 0) return NOT_SUPPORTED;
    *id = (unsigned)device->slice + 1;
    return SUCCESS;
}

int nvmlDeviceGetComputeInstanceId(device_t *device, unsigned *id) {
    CHECK(device);
    if (device->slice < 0) return NOT_SUPPORTED;
    *id = 0;
    return SUCCESS;
}

#ifndef OLD /* what a library that is years old, or another kind of board, has not */

int nvmlDeviceGetPciInfo_v3(device_t *device, pci_t *pci) {
    CHECK(device);
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned)device->board + 1;
    snprintf(pci->id, sizeof pci->id, "00000000:%02X:00.0", pci->bus);
    char value[TEXT];
    if (entry("FAKE_NVML_BUS", device->board, ',', 1, value)) {
        snprintf(pci->id, sizeof pci->id, "%.31s", value);
        sscanf(value, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device);
    }
    snprintf(pci->legacy_id, sizeof pci->legacy_id, "%.15s", pci->id + 4);
    pci->device_id = 0x233010DE;
    return SUCCESS;
}

int nvmlDeviceGetMemoryAffinity(device_t *device, unsigned size, unsigned long *nodes, unsigned scope) {
    double node;
    (void)scope;
    CHECK(device);
    if (figure("FAKE_NVML_NUMA", device, -1, &node) || node < 0) return NOT_SUPPORTED;
    memset(nodes, 0, size * sizeof *nodes);
    if (node < 64 * size) nodes[(int)node / 64] |= 1UL << (int)node % 64;
    return SUCCESS;
}

int nvmlDeviceGetComputeMode(device_t *device, unsigned *mode) {
    char value[TEXT];
    CHECK(device);
    entry("FAKE_NVML_MODE", device->board, ',', 1, value);
    if (value[0] == '-') return NOT_SUPPORTED;
    *mode = value[0] == 't' ? 1 : value[0] == 'p' ? 2 : value[0] == 'e' ? 3 : 0;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(device_t *device, rates_t *rates) {
    CHECK(device);
    if (is_sliced(device)) return NOT_SUPPORTED;
    FIGURE(device, "FAKE_NVML_UTILIZATION", 0, &rates->gpu, 1);
    FIGURE(device, "FAKE_NVML_MEMORY_UTILIZATION", 0, &rates->memory, 1);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(device_t *device, unsigned sensor, unsigned *degrees) {
    (void)sensor;
    FIGURE(device, "FAKE_NVML_TEMPERATURE", 40, degrees, 1);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(device_t *device, unsigned *milliwatts) {
    FIGURE(device, "FAKE_NVML_POWER", 60, milliwatts, 1000);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(device_t *device, unsigned *milliwatts) {
    FIGURE(device, "FAKE_NVML_POWER_LIMIT", 400, milliwatts, 1000);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(device_t *device, unsigned *milliwatts) {
    FIGURE(device, "FAKE_NVML_POWER_LIMIT", 400, milliwatts, 1000);
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(device_t *device, unsigned *on) {
    FIGURE(device, "FAKE_NVML_PERSISTENCE", 1, on, 1);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(device_t *device, unsigned long long *reasons) {
    FIGURE(device, "FAKE_NVML_THROTTLE", 0, reasons, 1);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(device_t *device, unsigned long long *reasons) {
    return nvmlDeviceGetCurrentClocksThrottleReasons(device, reasons);
}

int nvmlDeviceGetEccMode(device_t *device, unsigned *current, unsigned *pending) {
    double value;
    CHECK(device);
    if (figure("FAKE_NVML_ECC", device, 0, &value)) return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(device_t *device, unsigned kind, unsigned counter, unsigned long long *count) {
    (void)counter;
    if (kind)
        FIGURE(device, "FAKE_NVML_ECC", 0, count, 1);
    else
        FIGURE(device, "FAKE_NVML_ECC_CORRECTED", 0, count, 1);
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(device_t *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    FIGURE(device, "FAKE_NVML_REMAPPED", 0, uncorrected, 1);
    *corrected = *pending = *failed = 0;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(device_t *device, unsigned *count, process_t *into) {
    CHECK(device);
    return list_processes(device, count, into);
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(device_t *device, unsigned *count, process_t *into) {
    (void)into;
    CHECK(device);
    *count = 0;
    return SUCCESS;
}

/* -- events ------------------------------------------------------------------------------------------------------------------ */

/* Look at one line of the file of Xids; return whether there is one. */
static int xid_line(int number, int *board, unsigned long long *xid) {
    char all[TEXT], *rest = all;
    text("FAKE_NVML_XID", all);
    for (char *line; (line = strsep(&rest, "\n;"));)
        if (sscanf(line, "%d %llu", board, xid) == 2 && number-- == 0) return 1;
    return 0;
}

int nvmlEventSetCreate(events_t **set) {
    int board;
    unsigned long long xid;
    *set = calloc(1, sizeof **set);
    while (xid_line((*set)->seen, &board, &xid)) (*set)->seen++;
    return SUCCESS;
}

int nvmlEventSetFree(events_t *set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceGetSupportedEventTypes(device_t *device, unsigned long long *types) {
    CHECK(device);
    *types = XID_EVENT;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(device_t *device, unsigned long long types, events_t *set) {
    CHECK(device);
    if (device->slice >= 0 || types != XID_EVENT) return NOT_SUPPORTED;
    set->boards |= 1U << device->board;
    return SUCCESS;
}

int nvmlEventSetWait_v2(events_t *set, event_t *event, unsigned timeout_ms) {
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (;;) {
        int board;
        unsigned long long xid;
        while (xid_line(set->seen, &board, &xid)) {
            set->seen++;
            if (board < 0 || board >= BOARDS || !(set->boards >> board & 1)) continue;
            *event = (event_t){&devices[board][0], XID_EVENT, xid, NO_INSTANCE, NO_INSTANCE};
            return SUCCESS;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        double waited_ms = (now.tv_sec - began.tv_sec) * 1e3 + (now.tv_nsec - began.tv_nsec) / 1e6;
        if (waited_ms >= timeout_ms) return TIMEOUT;
        usleep(timeout_ms - waited_ms < 20 ? 1000 : 20000);
    }
}

#endif
