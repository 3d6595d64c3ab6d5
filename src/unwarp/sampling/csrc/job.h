// What a kernel is asked to do: raw pointers, extents and strides. No Python, no torch.
#pragma once

#include <cstdint>

namespace unwarp {

// So many samples, which follow each other, are located and read at a time.
constexpr int block_size = 256;

// As in modes.py.
constexpr double most_tolerance = 0.2;

enum class Element : int { f16, bf16, f32, f64, u8 };
enum class Mode : int { nearest, linear, cubic, spline2, spline3, spline4, spline5 };
enum class Padding : int { zeros, constant, border, reflection, wrap };

// Axes are in the order x, y, z: the fastest first. Strides count elements.
struct Plane {
    void* data;
    Element element;
    std::int64_t batch_stride;
    std::int64_t channel_stride;
    std::int64_t stride[3];
};

struct Job {
    int ndim;
    std::int64_t images;    // N
    std::int64_t maps;      // K, of each image
    std::int64_t channels;  // C
    std::int64_t in_size[3];
    std::int64_t out_size[3];
    std::int64_t samples;  // product of out_size

    Mode mode;
    Padding padding[3];
    const double* fill;   // [C], or null for zeros
    double tolerance[3];  // how far rounding may have moved a position, in pixels; at most `most_tolerance`

    // Where the samples read. Either a matrix per map, `[N * K, D + 1, D + 1]`, from output samples counted from the
    // centre of the output to input pixels counted from the centre of the image; or normalised points `[N * K, Q, D]`;
    // or, with footprints, `[N * K, Q, D, D + 1]`: a point, preceded by its change per step to the next output sample
    // along each axis.
    const double* matrix;
    bool projective;
    const void* grid;
    bool footprints;
    bool wide_grid;  // float64
    bool planar_grid;          // `[N * K, D, Q]` in memory: first all x, then all y
    std::int64_t grid_stride;  // between maps
    bool bricks;               // whether blocks come brick by brick (bricks.h)

    int threads;
};

// Pixels `[outer, count, inner]` without gaps, of which the lines along the middle axis are to become B-spline
// coefficients; and the matrix that reads pixels from those. `around` pixels of its other end go before a line, and as
// many after it.
struct Equations {
    std::int64_t outer, count, inner;
    std::int64_t around;
    const double* diagonals;  // [count + 2 * around, 5]: of each row what is from two before the diagonal to two after it
    int threads;
};

// The kernels of one instruction set. `wide` computes in float64, else in float32.
struct Kernels {
    const char* name;
    // out [N * K, C, Q] = image read at the samples.
    void (*forward)(const Job&, const Plane& image, const Plane& out, bool wide);
    // grad_image = adjoint of `forward` at grad_out; both of the computing type, grad_image without gaps.
    void (*backward_image)(const Job&, const Plane& grad_out, const Plane& grad_image, bool wide);
    // Gradient of the matrices `[N * K, D + 1, D + 1]` (float64), or of the points (the grid's type); grad_out is of
    // the computing type.
    void (*backward_points)(const Job&, const Plane& image, const Plane& grad_out, void* grad_points, bool wide);
    // The equations solved for every line of `data`, of the computing type, in place.
    void (*prefilter)(const Equations&, void* data, bool wide);
};

const Kernels& kernels_plain();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace unwarp
