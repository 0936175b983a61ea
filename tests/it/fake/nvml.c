/* A management library of a driver that is not there: what it shows stands in the file that FAKE_NVML names, a line for each GPU:
 *
 *     UUID TOTAL_MIB USED_MIB [PID:MIB ...]
 *
 * The file is read at every call, so that a test changes what is seen by replacing it. A GPU with a total of 0 is lost. A process with
 * -1 MiB is one of which the driver does not tell. Only what prismq calls is here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, GPUS = 8, PROCESSES = 16 };
#define MIB (1024ULL * 1024ULL)

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct gpu { char uuid[80]; unsigned long long total, used; unsigned count; struct process processes[PROCESSES]; };

static unsigned load(struct gpu *gpus) {
  const char *name = getenv("FAKE_NVML");
  FILE *file = name ? fopen(name, "r") : NULL;
  char line[4096];
  unsigned count = 0;
  while (file && count < GPUS && fgets(line, sizeof line, file)) {
    struct gpu *gpu = &gpus[count];
    int end = 0;
    memset(gpu, 0, sizeof *gpu);
    if (sscanf(line, "%79s %llu %llu%n", gpu->uuid, &gpu->total, &gpu->used, &end) < 3) continue;
    for (char *rest = line + end; gpu->count < PROCESSES;) {
      unsigned pid;
      long long used;
      int length = 0;
      if (sscanf(rest, " %u:%lld%n", &pid, &used, &length) < 2) break;
      gpu->processes[gpu->count++] = (struct process){pid, used < 0 ? ~0ULL : (unsigned long long)used * MIB, ~0U, ~0U};
      rest += length;
    }
    count++;
  }
  if (file) fclose(file);
  return count;
}

static int at(void *device, struct gpu *found) {
  struct gpu gpus[GPUS];
  unsigned index = (unsigned)((size_t)device - 1);
  if (index >= load(gpus)) return NOT_FOUND;
  *found = gpus[index];
  return OK;
}

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code ? "an error of the fake" : "ok"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
  struct gpu gpus[GPUS];
  *count = load(gpus);
  return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  *device = (void *)(size_t)(index + 1);
  return OK;
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned length) {
  struct gpu gpu;
  int code = at(device, &gpu);
  if (code == OK) snprintf(text, length, "%s", gpu.uuid);
  return code;
}

int nvmlDeviceGetName(void *device, char *text, unsigned length) {
  (void)device;
  snprintf(text, length, "Fake Card");
  return OK;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
  (void)device;
  (void)current;
  (void)pending;
  return NOT_SUPPORTED;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory) {
  struct gpu gpu;
  int code = at(device, &gpu);
  if (code != OK) return code;
  if (gpu.total == 0) return GPU_IS_LOST;
  memory->total = gpu.total * MIB;
  memory->reserved = 0;
  memory->used = gpu.used * MIB;
  memory->free = memory->total - memory->used;
  return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *processes) {
  struct gpu gpu;
  int code = at(device, &gpu);
  if (code != OK) return code;
  if (gpu.total == 0) return GPU_IS_LOST;
  unsigned room = *count;
  *count = gpu.count;
  if (gpu.count > room) return INSUFFICIENT_SIZE;
  if (processes) memcpy(processes, gpu.processes, gpu.count * sizeof *processes);
  return OK;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, struct process *processes) {
  (void)device;
  (void)processes;
  *count = 0;
  return OK;
}
