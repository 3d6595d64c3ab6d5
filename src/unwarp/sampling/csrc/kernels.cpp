// Compiled once per instruction set, each time into a namespace of its own (UNWARP_ISA).
#include "footprint.h"
#include "last.h"
#include "margin.h"
#include "packed.h"
#include "planar.h"
#include "prefilter.h"
#include "scatter.h"

namespace unwarp {
namespace UNWARP_ISA {

// Calls `work` with an element of the type as its argument.
template <class Work>
void with_element(Element element, const Work& work) {
    switch (element) {
        case Element::f16: return work(Half{});
        case Element::bf16: return work(Bfloat{});
        case Element::f32: return work(float{});
        case Element::f64: return work(double{});
        case Element::u8: return work(std::uint8_t{});
    }
}

template <class Work>
void with_dimensions(int ndim, const Work& work) {
    if (ndim == 1) return work(std::integral_constant<int, 1>{});
    if (ndim == 2) return work(std::integral_constant<int, 2>{});
    return work(std::integral_constant<int, 3>{});
}

// Calls `work` with the computing type, where it is wide enough for the elements T.
template <class T, class Work>
void with_width(bool wide, const Work& work) {
    if (wide) return work(double{});
    if constexpr (!std::is_same_v<T, double>) return work(float{});
}

// Calls `work` with the number of taps where it is known when compiling, else 0.
template <int D, class Work>
void with_taps(const Job& job, const Work& work) {
    if (job.mode == Mode::linear) return work(std::integral_constant<int, 1 << D>{});
    return work(std::integral_constant<int, 0>{});
}

void forward(const Job& job, const Plane& image, const Plane& out, bool wide) {
    with_dimensions(job.ndim, [&](auto ndim) {
        with_element(image.element, [&](auto element) {
            using T = decltype(element);
            with_width<T>(wide, [&](auto width) {
                using W = decltype(width);
                if (job.footprints)
                    forward_footprints<ndim, T, W>(job, image, out);
                else if (std::is_same_v<T, W> && side_by_side<W>(job, image, out))
                    with_taps<ndim>(job, [&](auto taps) { forward_last<taps, ndim, W>(job, image, out); });
                else if (wants_margin<ndim>(job))
                    forward_margin<ndim, T, W>(job, image, out);
                else if (!packs<ndim, W>(job, job.images * vectors_of<W>(job)))
                    forward_planar<ndim, T, W>(job, image, out);
                else
                    with_taps<ndim>(job, [&](auto taps) { forward_packed<taps, ndim, T, W>(job, image, out); });
            });
        });
    });
}

void backward_points(const Job& job, const Plane& image, const Plane& grad_out, void* grad_points, bool wide) {
    with_dimensions(job.ndim, [&](auto ndim) {
        with_element(image.element, [&](auto element) {
            using T = decltype(element);
            with_width<T>(wide, [&](auto width) {
                using W = decltype(width);
                if (job.footprints)
                    points_footprints<ndim, T, W>(job, image, grad_out, grad_points);
                else if (std::is_same_v<T, W> && side_by_side<W>(job, image, grad_out))
                    with_taps<ndim>(
                        job, [&](auto taps) { points_last<taps, ndim, W>(job, image, grad_out, grad_points); });
                else if (wants_margin<ndim>(job))
                    points_margin<ndim, T, W>(job, image, grad_out, grad_points);
                else if (!packs<ndim, W>(job, job.images))
                    points_planar<ndim, T, W>(job, image, grad_out, grad_points);
                else
                    with_taps<ndim>(
                        job, [&](auto taps) { points_packed<taps, ndim, T, W>(job, image, grad_out, grad_points); });
            });
        });
    });
}

void backward_image(const Job& job, const Plane& grad_out, const Plane& grad_image, bool wide) {
    with_dimensions(job.ndim, [&](auto ndim) {
        with_width<float>(wide, [&](auto width) {
            using W = decltype(width);
            if constexpr (has_quads<W>)
                if (fits_quads<ndim>(job, grad_image))
                    return scatter_planar<ndim, W, true>(job, grad_out, grad_image);
            if (job.footprints)
                scatter_footprints<ndim, W>(job, grad_out, grad_image);
            else if (side_by_side<W>(job, grad_out, grad_image))
                with_taps<ndim>(job, [&](auto taps) { scatter_last<taps, ndim, W>(job, grad_out, grad_image); });
            else if (!packs<ndim, W>(job, job.images * vectors_of<W>(job)))
                scatter_planar<ndim, W, false>(job, grad_out, grad_image);
            else
                with_taps<ndim>(job, [&](auto taps) { scatter_packed<taps, ndim, W>(job, grad_out, grad_image); });
        });
    });
}

void prefilter(const Equations& equations, void* data, bool wide) {
    if (wide) return solve_lines(equations, static_cast<double*>(data));
    solve_lines(equations, static_cast<float*>(data));
}

}  // namespace UNWARP_ISA

#define UNWARP_JOIN(a, b) a##b
#define UNWARP_TABLE(isa) UNWARP_JOIN(kernels_, isa)
#define UNWARP_TEXT(isa) #isa
#define UNWARP_NAME(isa) UNWARP_TEXT(isa)

const Kernels& UNWARP_TABLE(UNWARP_ISA)() {
    static const Kernels table = {
        UNWARP_NAME(UNWARP_ISA), UNWARP_ISA::forward, UNWARP_ISA::backward_image, UNWARP_ISA::backward_points,
        UNWARP_ISA::prefilter};
    return table;
}

}  // namespace unwarp
