// stable-diffusion.cpp's FLUX at the sizes of `x2i bench stack`.
//
//     sd-cpp [--mmap yes] [--backend Vulkan0] --weights FOLDER --variant q8_0|q4_0|q4_k|f16 --size 256 --threads 2
//
// FOLDER holds VARIANT.gguf and the inputs as raw f32, all written by x2i. Prints one JSON line
// after the first pass and one for every line it reads: `forward`, or `output FILE`, which writes
// the velocity as f32 [image tokens, 64].

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "flux.hpp"

namespace {

constexpr int CHANNELS = 16;    // of the latents
constexpr int PATCH = 2;        // latents along a token's side
constexpr int TEXT_WIDTH = 4096;
constexpr float SIGMA = 0.5f;
const std::string PREFIX = "model.diffusion_model";

std::vector<float> read_floats(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<float> values(static_cast<size_t>(file.tellg()) / sizeof(float));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(float));
    if (!file) {
        std::fprintf(stderr, "%s: can't be read\n", path.c_str());
        std::exit(1);
    }
    return values;
}

// Where channel `c` at (y, x) of the latents is in the packed tokens.
size_t packed(int side, int c, int y, int x) {
    const int token = (y / PATCH) * (side / PATCH) + x / PATCH;
    return (static_cast<size_t>(token) * CHANNELS + c) * PATCH * PATCH + (y % PATCH) * PATCH + x % PATCH;
}

template <typename F>
void each_latent(int side, F f) {
    size_t index = 0;
    for (int c = 0; c < CHANNELS; c++)
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) f(index++, packed(side, c, y, x));
}

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec * 1e-6; };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Not getrusage's, which begins with what the parent had resident when it forked.
long peak_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind("VmHWM:", 0) == 0) return std::stol(line.substr(6)) * 1024;
    return 0;
}

void silent(ggml_log_level, const char*, void*) {}

}  // namespace

int main(int argc, char** argv) {
    // The library draws its progress on standard output, which is for answers.
    FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
    if (answers == nullptr || std::freopen("/dev/null", "w", stdout) == nullptr) return 1;
    std::map<std::string, std::string> args;
    for (int i = 1; i + 1 < argc; i += 2) args[argv[i]] = argv[i + 1];
    const std::string folder = args["--weights"] + "/";
    const std::string size = args["--size"];
    const int side = std::stoi(size) / 8;  // latents
    const int threads = std::stoi(args["--threads"]);
    ggml_log_set(silent, nullptr);

    ModelLoader loader;
    const std::string file = folder + args["--variant"] + ".gguf";
    if (!loader.init_from_file_and_convert_name(file, PREFIX + ".")) {
        std::fprintf(stderr, "%s: stable-diffusion.cpp can't read it\n", file.c_str());
        return 1;
    }
    const std::string name = args.count("--backend") ? args["--backend"] : "CPU";
    ggml_backend_t backend = ggml_backend_init_by_name(name.c_str(), nullptr);
    if (backend == nullptr) {
        std::fprintf(stderr, "%s: ggml has no such backend here\n", name.c_str());
        return 1;
    }
    Flux::FluxRunner flux(backend, false, loader.get_tensor_storage_map(), PREFIX, VERSION_FLUX, false);
    flux.alloc_params_buffer();
    std::map<std::string, ggml_tensor*> tensors;
    flux.get_param_tensors(tensors, PREFIX);
    // Maps the file only to copy from it: both are in memory for a while.
    const bool mapped = args.count("--mmap") > 0;
    if (!loader.load_tensors(tensors, {}, threads, mapped)) return 1;

    const auto img = read_floats(folder + "img-" + size + ".f32");
    const auto txt = read_floats(folder + "txt.f32");
    const auto vec = read_floats(folder + "vec.f32");
    std::vector<float> latents(img.size());
    each_latent(side, [&](size_t plain, size_t token) { latents[plain] = img[token]; });
    const sd::Tensor<float> x({side, side, CHANNELS, 1}, latents);
    const sd::Tensor<float> context({TEXT_WIDTH, static_cast<int64_t>(txt.size()) / TEXT_WIDTH, 1}, txt);
    const sd::Tensor<float> pooled({static_cast<int64_t>(vec.size()), 1}, vec);
    const sd::Tensor<float> timesteps({1}, {SIGMA});
    // Sets the backend's threads too.
    const auto forward = [&] { return flux.compute(threads, x, timesteps, context, {}, pooled); };

    auto velocity = forward();  // the first pass touches memory
    std::fprintf(answers, "{\"versions\": \"stable-diffusion.cpp %s %s (%s, %s%s)\", \"cpu\": %.3f, \"peak\": %ld}\n",
                 SD_CPP_VERSION, args["--variant"].c_str(), name.c_str(), GEMM, mapped ? ", mapped" : "", cpu_seconds(), peak_bytes());
    std::fflush(answers);
    for (std::string line; std::getline(std::cin, line);) {
        if (line.rfind("output ", 0) == 0) {
            std::vector<float> out(img.size());
            each_latent(side, [&](size_t plain, size_t token) { out[token] = velocity.data()[plain]; });
            std::ofstream(line.substr(7), std::ios::binary)
                .write(reinterpret_cast<const char*>(out.data()), out.size() * sizeof(float));
            std::fprintf(answers, "{}\n");
        } else {
            const double wall = wall_seconds(), cpu = cpu_seconds();
            velocity = forward();
            std::fprintf(answers, "{\"wall\": %.4f, \"cpu\": %.4f, \"peak\": %ld}\n", wall_seconds() - wall, cpu_seconds() - cpu,
                        peak_bytes());
        }
        std::fflush(answers);
    }
    return 0;
}
