// The functions of f32 that a GPU has no instruction for, for kernels that LLVM compiles for NVIDIA.
//
// cubecl calls them by the names of NVIDIA's libdevice, a part of the CUDA toolkit. A program that brings these instead
// needs NVIDIA's driver alone. tests/cuda/functions.c measures them: each is within 2e-7 of the exact value, relative,
// but erf (6e-7), sin and cos (1e-7), absolute. Sines are for arguments below 10000; of powers, squares are within 1e-6.
//
// Sources: Cephes (Moshier, 1984-1992) for the polynomials, Abramowitz and Stegun 7.1.26 for erf. Left out: the names
// that no kernel of x2i calls.
typedef unsigned int bits_t;

union word {
    float x;
    bits_t bits;
};
static float of_bits(bits_t bits) { return (union word){.bits = bits}.x; }
static bits_t bits_of(float x) { return (union word){.x = x}.bits; }
static float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static float nearest(float x) { return __builtin_rintf(x); }
static float magnitude(float x) { return of_bits(bits_of(x) & 0x7fffffffu); }
static float with_sign(float x, float of) { return of_bits(bits_of(x) | (bits_of(of) & 0x80000000u)); }

// e^r 2^n for a small r. Two factors, so that neither overflows before the product does.
static float scaled_exp(float r, float n) {
    float p = 1.9875691500e-4f;
    p = fused(p, r, 1.3981999507e-3f);
    p = fused(p, r, 8.3334519073e-3f);
    p = fused(p, r, 4.1665795894e-2f);
    p = fused(p, r, 1.6666665459e-1f);
    p = fused(p, r, 5.0000001201e-1f);
    float y = fused(p, r * r, r) + 1.0f;
    int whole = (int)n, half = whole / 2;
    return y * of_bits((bits_t)(half + 127) << 23) * of_bits((bits_t)(whole - half + 127) << 23);
}

float __nv_expf(float x) {
    if (x != x) return x;
    if (x > 89.0f) return of_bits(0x7f800000u);
    if (x < -104.0f) return 0.0f;
    float n = nearest(x * 1.44269504f);
    float r = fused(n, -0.693359375f, x);
    return scaled_exp(fused(n, 2.12194440e-4f, r), n);
}

float __nv_exp2f(float x) {
    if (x != x) return x;
    if (x > 128.0f) return of_bits(0x7f800000u);
    if (x < -150.0f) return 0.0f;
    float n = nearest(x);
    return scaled_exp((x - n) * 0.693147180f, n);
}

float __nv_logf(float x) {
    if (x != x || x < 0.0f) return of_bits(0x7fc00000u);
    if (x == 0.0f) return of_bits(0xff800000u);
    if (bits_of(x) == 0x7f800000u) return x;
    int e = 0;
    if (x < 1.17549435e-38f) { // below the normal numbers
        x *= 8388608.0f;
        e = -23;
    }
    // The fraction between the root of a half and the root of two.
    int above = ((int)bits_of(x) - 0x3f3504f3) >> 23;
    float f = of_bits(bits_of(x) - ((bits_t)above << 23)) - 1.0f;
    float n = (float)(e + above);
    float z = f * f;
    float p = 7.0376836292e-2f;
    p = fused(p, f, -1.1514610310e-1f);
    p = fused(p, f, 1.1676998740e-1f);
    p = fused(p, f, -1.2420140846e-1f);
    p = fused(p, f, 1.4249322787e-1f);
    p = fused(p, f, -1.6668057665e-1f);
    p = fused(p, f, 2.0000714765e-1f);
    p = fused(p, f, -2.4999993993e-1f);
    p = fused(p, f, 3.3333331174e-1f);
    float low = fused(n, -2.12194440e-4f, p * f * z);
    low = fused(z, -0.5f, low);
    return fused(n, 0.693359375f, f + low);
}

float __nv_log2f(float x) { return __nv_logf(x) * 1.44269504f; }

// For a positive x, and for a whole y.
float __nv_powf(float x, float y) {
    if (y == 0.0f || x == 1.0f) return 1.0f;
    float power = __nv_expf(y * __nv_logf(magnitude(x)));
    if (!(x < 0.0f)) return power;
    if (nearest(y) != y) return of_bits(0x7fc00000u);
    return nearest(y * 0.5f) * 2.0f == y ? power : -power;
}

float __nv_tanhf(float x) {
    float a = magnitude(x);
    if (a > 9.1f) return with_sign(1.0f, x);
    if (a >= 0.625f) return with_sign(1.0f - 2.0f / (__nv_expf(2.0f * a) + 1.0f), x);
    float z = x * x;
    float p = -5.70498872745e-3f;
    p = fused(p, z, 2.06390887954e-2f);
    p = fused(p, z, -5.37397155531e-2f);
    p = fused(p, z, 1.33314422036e-1f);
    p = fused(p, z, -3.33332819422e-1f);
    return fused(p * z, x, x);
}

float __nv_erff(float x) {
    float a = magnitude(x);
    if (x != x) return x;
    float t = 1.0f / fused(0.3275911f, a, 1.0f);
    float p = 1.061405429f;
    p = fused(p, t, -1.453152027f);
    p = fused(p, t, 1.421413741f);
    p = fused(p, t, -0.284496736f);
    p = fused(p, t, 0.254829592f);
    return with_sign(1.0f - p * t * __nv_expf(-a * a), x);
}

// The sine of x plus `quarters` quarters of a turn.
static float turned(float x, int quarters) {
    float n = nearest(x * 0.636619772f);
    float r = fused(n, -1.5703125f, x);
    r = fused(n, -4.83751297e-4f, r);
    r = fused(n, -7.54978995e-8f, r);
    float z = r * r;
    int quarter = ((int)n + quarters) & 3;
    float p;
    if (quarter & 1) {
        p = 2.443315711809948e-5f;
        p = fused(p, z, -1.388731625493765e-3f);
        p = fused(p, z, 4.166664568298827e-2f);
        p = fused(p * z, z, fused(z, -0.5f, 1.0f));
    } else {
        p = -1.9515295891e-4f;
        p = fused(p, z, 8.3321608736e-3f);
        p = fused(p, z, -1.6666654611e-1f);
        p = fused(p * z, r, r);
    }
    return quarter & 2 ? -p : p;
}

float __nv_sinf(float x) { return turned(x, 0); }
float __nv_cosf(float x) { return turned(x, 1); }
