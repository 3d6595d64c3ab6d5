// The one file that sees Python: arrays come in through DLPack, and leave as raw pointers.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#ifndef _WIN32
#include <pthread.h>
#endif

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <vector>

#include "bricks.h"
#include "memory.h"

namespace nb = nanobind;

namespace unwarp {

bool after_fork = false;

namespace {

using Array = nb::ndarray<nb::device::cpu>;

std::atomic<const Kernels*> chosen{nullptr};

std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> found;
#ifdef UNWARP_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"))
        found.push_back(&kernels_avx512());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&kernels_avx2());
#endif
    found.push_back(&kernels_plain());
    return found;
}

const Kernels& kernels() {
    const Kernels* now = chosen.load();
    if (!now) chosen.store(now = runnable().front());
    return *now;
}

void choose(const std::string& name) {
    for (const Kernels* candidate : runnable())
        if (name == candidate->name) return chosen.store(candidate);
    throw std::invalid_argument("choose: wanted one of available(), got " + name);
}

std::vector<std::string> available() {
    std::vector<std::string> names;
    for (const Kernels* candidate : runnable()) names.emplace_back(candidate->name);
    return names;
}

Element element_of(const Array& array) {
    const auto type = array.dtype();
    if (type == nb::dtype<float>()) return Element::f32;
    if (type == nb::dtype<double>()) return Element::f64;
    if (type == nb::dtype<std::uint8_t>()) return Element::u8;
    if (type.bits == 16 && type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float)) return Element::f16;
    if (type.bits == 16 && type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Bfloat)) return Element::bf16;
    throw std::invalid_argument("wanted float16, bfloat16, float32, float64 or uint8");
}

void want(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

// [N, C, *spatial] with any strides.
Plane plane_of(const Array& array) {
    Plane plane{array.data(), element_of(array), array.stride(0), array.stride(1), {0, 0, 0}};
    const int ndim = static_cast<int>(array.ndim()) - 2;
    for (int d = 0; d < ndim; ++d) plane.stride[d] = array.stride(static_cast<std::size_t>(ndim + 1 - d));
    return plane;
}

// Coordinates of one call, kept alive while its kernel runs.
struct Reading {
    Job job{};
    std::vector<double> matrix;
    std::vector<double> fill;
};

// The last two rows of every argument list: how to read.
struct How {
    int mode;
    std::vector<int> padding;  // x, y, z
    std::vector<double> fill;  // one per channel, or empty
    int threads;
};

// Calls `work` with a pointer to the array's numbers.
template <class Work>
void with_numbers(const Array& array, const Work& work) {
    if (element_of(array) == Element::f64)
        work(static_cast<double*>(array.data()));
    else
        work(static_cast<float*>(array.data()));
}

// What a normalised matrix's entry is multiplied by to take centred output samples to centred input pixels.
double factor(const Job& job, int row, int column) {
    const double inward = row < job.ndim ? static_cast<double>(job.in_size[row]) / 2 : 1;
    const double outward = column < job.ndim ? 2 / static_cast<double>(job.out_size[column]) : 1;
    return inward * outward;
}

// `image` and `out` stand for whatever has their shapes, gradients too.
Reading reading(const Array& image, const Array& out, const Array& points, bool is_matrix, const How& how) {
    Reading result;
    Job& job = result.job;
    job.ndim = static_cast<int>(image.ndim()) - 2;
    want(job.ndim >= 1 && job.ndim <= 3 && out.ndim() == image.ndim(), "wanted [N, C, *in] and [N * K, C, *out]");
    job.images = static_cast<std::int64_t>(image.shape(0));
    job.channels = static_cast<std::int64_t>(image.shape(1));
    const auto maps = static_cast<std::int64_t>(out.shape(0));
    want(job.images > 0 && maps % job.images == 0, "wanted a whole number of maps per image");
    want(out.shape(1) == image.shape(1), "wanted as many channels out as in");
    job.maps = maps / job.images;
    job.samples = 1;
    const double precision = 2 * (element_of(points) == Element::f64 ? 2.220446049250313e-16 : 1.1920928955078125e-07);
    want(how.padding.size() == static_cast<std::size_t>(job.ndim), "wanted a padding per axis");
    for (int d = 0; d < job.ndim; ++d) {
        const auto axis = static_cast<std::size_t>(job.ndim + 1 - d);
        job.in_size[d] = static_cast<std::int64_t>(image.shape(axis));
        job.out_size[d] = static_cast<std::int64_t>(out.shape(axis));
        job.samples *= job.out_size[d];
        job.tolerance[d] = std::min(precision * static_cast<double>(job.in_size[d]), most_tolerance);
        job.padding[d] = static_cast<Padding>(how.padding[static_cast<std::size_t>(d)]);
        want(job.in_size[d] > 0, "wanted at least one pixel along each axis");
    }
    job.mode = static_cast<Mode>(how.mode);
    job.threads = how.threads;
    if (!how.fill.empty()) {
        want(how.fill.size() == image.shape(1), "wanted a fill value per channel");
        result.fill = how.fill;
        job.fill = result.fill.data();
    }
    want(static_cast<std::int64_t>(points.shape(0)) == maps, "wanted as many maps as outputs");
    if (!is_matrix) {
        const auto ndim = static_cast<std::size_t>(job.ndim);
        job.footprints = points.ndim() == 4;
        want((points.ndim() == 3 || (job.footprints && points.shape(3) == ndim + 1)) && points.shape(2) == ndim &&
                 static_cast<std::int64_t>(points.shape(1)) == job.samples,
             "wanted points [N * K, Q, D], or footprints [N * K, Q, D, D + 1]");
        job.planar_grid = points.ndim() == 3 && ndim > 1 && points.stride(1) == 1 && points.stride(2) == job.samples;
        std::int64_t gap = 1;
        for (std::size_t axis = points.ndim() - 1; axis > 0; --axis) {
            want(
                points.stride(axis) == gap || points.shape(axis) <= 1 || job.planar_grid,
                "wanted points without gaps");
            gap *= static_cast<std::int64_t>(points.shape(axis));
        }
        job.grid = points.data();
        job.grid_stride = points.stride(0);
        job.wide_grid = element_of(points) == Element::f64;
        job.bricks = wants_bricks(job);
        return result;
    }
    const auto side = static_cast<std::size_t>(job.ndim + 1);
    want(points.ndim() == 3 && points.shape(2) == side && (points.shape(1) == side || points.shape(1) + 1 == side),
         "wanted matrices [N * K, D or D + 1, D + 1]");
    job.projective = points.shape(1) == side;
    result.matrix.resize(static_cast<std::size_t>(maps) * side * side);
    with_numbers(points, [&](const auto* entries) {
        const std::int64_t to_map = points.stride(0), to_row = points.stride(1), to_column = points.stride(2);
        for (int row = 0; row <= job.ndim; ++row)
            for (int column = 0; column <= job.ndim; ++column) {
                const double change = factor(job, row, column);
                double* to = result.matrix.data() + row * (job.ndim + 1) + column;
                const auto* from = entries + row * to_row + column * to_column;
                for (std::int64_t map = 0; map < maps; ++map, to += side * side) {
                    if (row < job.ndim || job.projective)
                        *to = static_cast<double>(from[map * to_map]) * change;
                    else
                        *to = column == job.ndim;
                }
            }
    });
    job.matrix = result.matrix.data();
    job.bricks = wants_bricks(job);
    return result;
}

void forward(
    const Array& image, const Array& out, const Array& points, bool is_matrix, int mode, std::vector<int> padding,
    std::vector<double> fill, bool wide, int threads) {
    const auto read = reading(image, out, points, is_matrix, {mode, std::move(padding), std::move(fill), threads});
    nb::gil_scoped_release released;
    kernels().forward(read.job, plane_of(image), plane_of(out), wide);
}

void backward_image(
    const Array& grad_out, const Array& grad_image, const Array& points, bool is_matrix, int mode,
    std::vector<int> padding, int threads) {
    const auto read = reading(grad_image, grad_out, points, is_matrix, {mode, std::move(padding), {}, threads});
    want(element_of(grad_out) == element_of(grad_image), "wanted gradients of one type");
    nb::gil_scoped_release released;
    kernels().backward_image(
        read.job, plane_of(grad_out), plane_of(grad_image), element_of(grad_out) == Element::f64);
}

void backward_points(
    const Array& image, const Array& grad_out, const Array& points, const Array& grad_points, bool is_matrix, int mode,
    std::vector<int> padding, std::vector<double> fill, int threads) {
    const auto read = reading(image, grad_out, points, is_matrix, {mode, std::move(padding), std::move(fill), threads});
    const Job& job = read.job;
    const bool wide = element_of(grad_out) == Element::f64;
    nb::gil_scoped_release released;
    if (!is_matrix) {
        kernels().backward_points(job, plane_of(image), plane_of(grad_out), grad_points.data(), wide);
        return;
    }
    std::vector<double> gradient(read.matrix.size());
    kernels().backward_points(job, plane_of(image), plane_of(grad_out), gradient.data(), wide);
    const int rows = job.ndim + (job.projective ? 1 : 0), columns = job.ndim + 1;
    with_numbers(grad_points, [&](auto* to) {
        for (std::int64_t map = 0; map < job.images * job.maps; ++map)
            for (int row = 0; row < rows; ++row)
                for (int column = 0; column < columns; ++column) {
                    const auto at = static_cast<std::size_t>((map * columns + row) * columns + column);
                    *to++ = static_cast<std::remove_reference_t<decltype(*to)>>(gradient[at] * factor(job, row, column));
                }
    });
}

// `data [outer, count, inner]` in place; see Equations.
void prefilter(
    const Array& data, std::int64_t around, const nb::ndarray<const double, nb::ndim<2>, nb::c_contig>& diagonals,
    int threads) {
    want(data.ndim() == 3 && around >= 0 &&
             static_cast<std::int64_t>(diagonals.shape(0)) == static_cast<std::int64_t>(data.shape(1)) + 2 * around &&
             diagonals.shape(1) == 5,
         "wanted pixels [outer, count, inner] and diagonals [count + 2 * around, 5]");
    const Equations equations{
        static_cast<std::int64_t>(data.shape(0)), static_cast<std::int64_t>(data.shape(1)),
        static_cast<std::int64_t>(data.shape(2)), around, diagonals.data(), threads};
    nb::gil_scoped_release released;
    kernels().prefilter(equations, data.data(), element_of(data) == Element::f64);
}

}  // namespace
}  // namespace unwarp

NB_MODULE(_kernels, module) {
    using namespace unwarp;
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { after_fork = true; });
#endif
    module.def("available", available, "Names of the instruction sets that this machine can run, the best first.");
    module.def("chosen", [] { return std::string(kernels().name); }, "The one in use.");
    module.def("choose", choose, nb::arg("name"), "Use another of those available.");
    module.def("use_large_pages", [](const Array& fresh) { use_large_pages(fresh.data(), fresh.nbytes()); });
    module.def("forward", forward);
    module.def("backward_image", backward_image);
    module.def("backward_points", backward_points);
    module.def("prefilter", prefilter);
}
