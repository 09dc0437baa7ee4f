// A virtual GPU for tests: a ggml backend that computes on the CPU and has only so many bytes.
//
// llama.cpp loads it as it loads any backend (ggml_backend_load) and really runs out of memory on it. Several processes
// share its devices through a folder, and a process that dies gives its bytes back, as with a real card.
//
// Environment (names that a worker is given, as all that begin with GGML_)
//   GGML_VGPU_DIR            the folder of the books (books.h); it must exist
//   GGML_VGPU_TOTAL          bytes of each device: one number for all, or one for each with commas between
//   GGML_VGPU_COUNT          number of devices; as many as there are totals if not set
//   GGML_VGPU_CONTEXT_BYTES  bytes that a process takes of a device at first touch; 0 if not set
//   GGML_VGPU_AS_CUDA        if set, the devices are called CUDA0, CUDA1, …, and a process sees those only that
//                            CUDA_VISIBLE_DEVICES names: GPU-VIRTUAL-0, …
//
// Rules that decide how many bytes llama.cpp asks for; those of ggml-cuda, on a card with tensor cores
//   * One device buffer type for each device, named like it (VGPU0): not host, alignment 128, no maximal size.
//   * Bytes of a tensor (get_alloc_size): ggml_nbytes. If its type is quantised and ne0 is no multiple of 512, plus
//     ggml_row_size(type, 512 - ne0 % 512). The result of FLASH_ATTN_EXT has behind it f16 copies of K and then of V,
//     each if its type is not f16, each beginning at a multiple of 128, with 2 bytes for each element; none of V where
//     V is a view of K. That is so for every batch size (CUDA needs no copies for one token).
//   * A host buffer type VGPU_Host, of device 0: host, alignment and sizes of the CPU's; its bytes are not counted.
//   * supports_buft: the device's own buffer type only, so neither host memory nor another device's.
//   * supports_op: what the CPU supports, which is all in every graph that runs; of attention, what CUDA has a kernel
//     for (ggml_cuda_get_best_fattn_kernel): some head sizes, some types of K and V, one mask for all heads.
//   * offload_op: a batch of 32 or more; batch is 0 for GET_ROWS, ne1 for MUL_MAT, ne2 for MUL_MAT_ID, ROPE and
//     ROPE_BACK, else the number of rows.
//   * Capabilities: all but buffer_from_host_ptr. So llama.cpp makes pipeline copies on two devices. Nothing here is
//     really asynchronous, and there are no events: llama.cpp waits instead.
//   * As with CUDA, memory and properties of a device cannot be read without a context on it. Where that does not fit,
//     or nothing is free, free and total are 0: llama.cpp divides by the sum of the free bytes.
//   * Exact bytes are counted: no granularity, no scratch pool.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "books.h"
#include "ggml_backend_interface.h"

#ifndef VGPU_API_VERSION
#define VGPU_API_VERSION 2
#endif
#ifndef VGPU_GGML_VERSION
#define VGPU_GGML_VERSION "0.25.3"
#endif

namespace {

constexpr size_t ALIGNMENT = 128;
constexpr int64_t ROW_VALUES = 512;
constexpr int64_t OFFLOAD_BATCH = 32;

struct Device {
    const std::string name;
    books::Books books;
    ggml_backend_buffer_type memory{};
};

Device & device_of(ggml_backend_dev_t dev) { return *static_cast<Device *>(dev->context); }
Device & device_of(ggml_backend_buffer_t buffer) { return device_of(buffer->buft->device); }

void * memory_for(size_t size) {
    void * data = nullptr;
    return posix_memalign(&data, ALIGNMENT, size) == 0 ? data : nullptr;
}

// Buffers on a device

void free_buffer(ggml_backend_buffer_t buffer) {
    device_of(buffer).books.give_back(buffer->size);
    std::free(buffer->context);
}

const ggml_backend_buffer_i BUFFER{
    .free_buffer = free_buffer,
    .get_base = [](ggml_backend_buffer_t buffer) { return buffer->context; },
    .init_tensor = nullptr,
    .memset_tensor = [](ggml_backend_buffer_t, ggml_tensor * tensor, uint8_t value, size_t offset,
                        size_t size) { memset(static_cast<char *>(tensor->data) + offset, value, size); },
    .set_tensor = [](ggml_backend_buffer_t, ggml_tensor * tensor, const void * data, size_t offset,
                     size_t size) { memcpy(static_cast<char *>(tensor->data) + offset, data, size); },
    .get_tensor = [](ggml_backend_buffer_t, const ggml_tensor * tensor, void * data, size_t offset,
                     size_t size) { memcpy(data, static_cast<const char *>(tensor->data) + offset, size); },
    .set_tensor_2d = nullptr,
    .get_tensor_2d = nullptr,
    .cpy_tensor =
        [](ggml_backend_buffer_t, const ggml_tensor * from, ggml_tensor * to) {
            const bool ours = from->buffer->iface.free_buffer == free_buffer;
            if (ours) memcpy(to->data, from->data, ggml_nbytes(from));
            return ours;
        },
    .clear = [](ggml_backend_buffer_t buffer, uint8_t value) { memset(buffer->context, value, buffer->size); },
    .reset = nullptr,
};

ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t buft, size_t size) {
    Device & device = device_of(buft->device);
    if (!device.books.take(size)) return nullptr;
    if (void * data = memory_for(size)) return ggml_backend_buffer_init(buft, BUFFER, data, size);
    device.books.give_back(size);
    return nullptr;
}

size_t tensor_bytes(ggml_backend_buffer_type_t, const ggml_tensor * tensor) {
    size_t bytes = ggml_nbytes(tensor);
    if (tensor->op == GGML_OP_FLASH_ATTN_EXT) {
        const ggml_tensor *k = tensor->src[1], *v = tensor->src[2];
        const bool shared = v->view_src &&
            (v->view_src == k || (v->view_src == k->view_src && v->view_offs == k->view_offs));
        for (const ggml_tensor * copied : {k, v})
            if (copied->type != GGML_TYPE_F16 && !(copied == v && shared))
                bytes = GGML_PAD(bytes, ALIGNMENT) + ggml_nelements(copied) * sizeof(ggml_fp16_t);
    }
    const int64_t odd = tensor->ne[0] % ROW_VALUES;
    return ggml_is_quantized(tensor->type) && odd ? bytes + ggml_row_size(tensor->type, ROW_VALUES - odd) : bytes;
}

// Buffers of the host

ggml_backend_buffer_t allocate_host(ggml_backend_buffer_type_t buft, size_t size) {
    void * data = memory_for(size);
    if (!data) return nullptr;
    ggml_backend_buffer_t buffer = ggml_backend_cpu_buffer_from_ptr(data, size);
    buffer->buft = buft;
    buffer->iface.free_buffer = [](ggml_backend_buffer_t freed) { std::free(freed->context); };
    return buffer;
}

ggml_backend_buffer_type host_memory{
    .iface = {.get_name = [](ggml_backend_buffer_type_t) { return "VGPU_Host"; },
              .alloc_buffer = allocate_host,
              .get_alignment = [](ggml_backend_buffer_type_t) {
                  return ggml_backend_buft_get_alignment(ggml_backend_cpu_buffer_type());
              },
              .get_max_size = nullptr,
              .get_alloc_size = nullptr,
              .is_host = [](ggml_backend_buffer_type_t) { return true; }},
    .device = nullptr,
    .context = nullptr,
};

// Computing

ggml_backend_dev_t cpu() {
    static const ggml_backend_dev_t found = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    return found;
}

ggml_backend_t inner(ggml_backend_t backend) { return static_cast<ggml_backend_t>(backend->context); }

ggml_backend_t init_backend(ggml_backend_dev_t dev, const char *) {
    static ggml_guid guid = {'v', 'r', 'a', 'm', 'd', ' ', 'v', 'i', 'r', 't', 'u', 'a', 'l', ' ', 'g', 'p'};
    if (!device_of(dev).books.touch()) return nullptr;
    ggml_backend_i iface{};
    iface.get_name = [](ggml_backend_t backend) { return device_of(backend->device).name.c_str(); };
    iface.free = [](ggml_backend_t backend) {
        ggml_backend_free(inner(backend));
        delete backend;
    };
    iface.graph_compute = [](ggml_backend_t backend, ggml_cgraph * graph) {
        return ggml_backend_graph_compute(inner(backend), graph);
    };
    return new ggml_backend{&guid, iface, dev, ggml_backend_dev_init(cpu(), nullptr)};
}

int64_t batch(const ggml_tensor * op) {
    switch (op->op) {
        case GGML_OP_GET_ROWS: return 0;
        case GGML_OP_MUL_MAT: return op->ne[1];
        case GGML_OP_MUL_MAT_ID:
        case GGML_OP_ROPE:
        case GGML_OP_ROPE_BACK: return op->ne[2];
        default: return ggml_nrows(op);
    }
}

bool is_attention_type(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_BF16:
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q4_1:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q5_1:
        case GGML_TYPE_Q8_0: return true;
        default: return false;
    }
}

// Whether CUDA has a kernel for it. From some head sizes on, several queries must share each K, in the way it wants.
bool attends(const ggml_tensor * op) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    if (!is_attention_type(k->type) || !is_attention_type(v->type) || (mask && mask->ne[2] != 1)) return false;
    const int64_t sharing = q->ne[2] / k->ne[2];
    float bias;
    memcpy(&bias, op->op_params + 1, sizeof bias);
    bool shared = sharing >= 2 && mask && bias == 0 && k->ne[1] % 256 == 0;
    for (const ggml_tensor * tensor : {q, k, v, mask})
        for (int dimension = 1; tensor && !ggml_is_quantized(tensor->type) && dimension < GGML_MAX_DIMS; ++dimension)
            shared = shared && tensor->nb[dimension] % 16 == 0;
    switch (k->ne[0]) {
        case 40: case 64: case 72: case 80: case 96: case 112: case 128: case 256: return v->ne[0] == k->ne[0];
        case 192: return shared && v->ne[0] == 128 && sharing % 8 == 0;
        case 320: return shared && v->ne[0] == 256 && sharing % 32 == 0;
        case 512:
        case 576: return shared && v->ne[0] == 512;
        default: return false;
    }
}

void set_threads(ggml_backend_t backend, int threads) {
    static const auto forward = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(cpu()), "ggml_backend_set_n_threads"));
    forward(inner(backend), threads);
}

const ggml_backend_device_i DEVICE{
    .get_name = [](ggml_backend_dev_t dev) { return device_of(dev).name.c_str(); },
    .get_description = [](ggml_backend_dev_t) { return "virtual GPU of the tests"; },
    .get_memory = [](ggml_backend_dev_t dev, size_t * free, size_t * total) { device_of(dev).books.read(free, total); },
    .get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; },
    .get_props =
        [](ggml_backend_dev_t dev, ggml_backend_dev_props * props) {
            *props = {.name = dev->iface.get_name(dev),
                      .description = dev->iface.get_description(dev),
                      .memory_free = 0,
                      .memory_total = 0,
                      .type = dev->iface.get_type(dev),
                      .device_id = nullptr,
                      .caps = {.async = true, .host_buffer = true, .buffer_from_host_ptr = false, .events = true,
                               .mmap_support = true}};
            device_of(dev).books.read(&props->memory_free, &props->memory_total);
        },
    .init_backend = init_backend,
    .get_buffer_type = [](ggml_backend_dev_t dev) { return &device_of(dev).memory; },
    .get_host_buffer_type = [](ggml_backend_dev_t) { return &host_memory; },
    .buffer_from_host_ptr = nullptr,
    .supports_op =
        [](ggml_backend_dev_t, const ggml_tensor * op) {
            return ggml_backend_dev_supports_op(cpu(), op) && (op->op != GGML_OP_FLASH_ATTN_EXT || attends(op));
        },
    .supports_buft = [](ggml_backend_dev_t dev,
                        ggml_backend_buffer_type_t buft) { return buft == &device_of(dev).memory; },
    .offload_op = [](ggml_backend_dev_t, const ggml_tensor * op) { return batch(op) >= OFFLOAD_BATCH; },
    .events = {},
};

// Registration

std::vector<ggml_backend_device> devices;

ggml_backend_reg registration{
    .api_version = VGPU_API_VERSION,
    .iface = {.get_name = [](ggml_backend_reg_t) { return "VGPU"; },
              .get_device_count = [](ggml_backend_reg_t) { return devices.size(); },
              .get_device = [](ggml_backend_reg_t, size_t index) { return &devices.at(index); },
              .get_proc_address = [](ggml_backend_reg_t, const char * name) -> void * {
                  const bool known = strcmp(name, "ggml_backend_set_n_threads") == 0;
                  return known ? reinterpret_cast<void *>(set_threads) : nullptr;
              }},
    .context = nullptr,
};

// What a variable says, or else the text; empty if that is anything but numbers with commas between.
std::vector<size_t> numbers(const char * variable, const std::string & otherwise) {
    const char * value = getenv(variable);
    std::vector<size_t> found;
    std::istringstream parts(value ? value : otherwise);
    for (std::string part; std::getline(parts, part, ',');) {
        if (part.empty() || part.find_first_not_of("0123456789") != std::string::npos) return {};
        found.push_back(std::stoull(part));
    }
    return found;
}

// The devices that this process may see.
std::vector<size_t> visible(size_t count) {
    const char * named = getenv("CUDA_VISIBLE_DEVICES");
    std::vector<size_t> found;
    for (size_t number = 0; number < count; ++number)
        if (!getenv("GGML_VGPU_AS_CUDA") || strstr(named ? named : "", ("GPU-VIRTUAL-" + std::to_string(number)).c_str()))
            found.push_back(number);
    return found;
}

void add_devices(const char * folder, const std::vector<size_t> & totals, size_t count, size_t context_bytes) {
    for (const size_t number : visible(count)) {
        const size_t total = totals[totals.size() == 1 ? 0 : number];
        // Never freed: what the process still holds at its end asks for it.
        const std::string name =
            getenv("GGML_VGPU_AS_CUDA") ? "CUDA" + std::to_string(devices.size()) : "VGPU" + std::to_string(number);
        auto * device = new Device{name, {folder, number, total, context_bytes}};
        devices.push_back({DEVICE, &registration, device});
    }
    for (ggml_backend_device & dev : devices)
        device_of(&dev).memory = {
            .iface = {.get_name = [](ggml_backend_buffer_type_t buft) { return device_of(buft->device).name.c_str(); },
                      .alloc_buffer = allocate,
                      .get_alignment = [](ggml_backend_buffer_type_t) { return ALIGNMENT; },
                      .get_max_size = nullptr,
                      .get_alloc_size = tensor_bytes,
                      .is_host = nullptr},
            .device = &dev,
            .context = nullptr,
        };
    if (!devices.empty()) host_memory.device = &devices.front();
}

ggml_backend_reg_t refuse(const std::string & problem) {
    fprintf(stderr, "virtual GPU: %s\n", problem.c_str());
    return nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init(void) {
    if (strcmp(ggml_version(), VGPU_GGML_VERSION) != 0)
        return refuse("made for ggml " VGPU_GGML_VERSION ", this is " + std::string(ggml_version()));
    if (!devices.empty()) return &registration;
    const char * folder = getenv("GGML_VGPU_DIR");
    if (!folder || !std::filesystem::is_directory(folder)) return refuse("GGML_VGPU_DIR is no folder");
    const std::vector<size_t> totals = numbers("GGML_VGPU_TOTAL", "");
    const std::vector<size_t> counts = numbers("GGML_VGPU_COUNT", std::to_string(totals.size()));
    const std::vector<size_t> contexts = numbers("GGML_VGPU_CONTEXT_BYTES", "0");
    if (totals.empty() || counts.size() != 1 || counts[0] == 0 || contexts.size() != 1 ||
        (totals.size() > 1 && counts[0] > totals.size()))
        return refuse("GGML_VGPU_TOTAL, GGML_VGPU_COUNT and GGML_VGPU_CONTEXT_BYTES do not say what there is");
    add_devices(folder, totals, counts[0], contexts[0]);
    return &registration;
}
