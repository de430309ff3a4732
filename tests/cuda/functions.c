// The functions of native/engine/cuda/functions.c against the C library's in f64.
#include <math.h>
#include <stdio.h>

extern float __nv_expf(float), __nv_exp2f(float), __nv_logf(float), __nv_log2f(float), __nv_tanhf(float);
extern float __nv_erff(float), __nv_sinf(float), __nv_cosf(float), __nv_powf(float, float);

static double squared(double x) { return pow(x, 2); }
static float ours_squared(float x) { return __nv_powf(x, 2); }

// Errors are in units of 2^-24: of the exact value, or of 1 where it is smaller and `absolute`.
struct Case {
    const char *name;
    float (*ours)(float);
    double (*exact)(double);
    float from, to;
    int absolute;
    double most;
};

static const struct Case CASES[] = {
    {"exp", __nv_expf, exp, -86, 88.5, 0, 2},     {"exp2", __nv_exp2f, exp2, -125, 127, 0, 2},
    {"log", __nv_logf, log, 1e-30, 1e30, 0, 4},   {"log", __nv_logf, log, 0.5, 2, 1, 2},
    {"log2", __nv_log2f, log2, 1e-6, 1e6, 0, 4},  {"tanh", __nv_tanhf, tanh, -10, 10, 0, 4},
    {"erf", __nv_erff, erf, -5, 5, 1, 10},         {"sin", __nv_sinf, sin, -10000, 10000, 1, 4},
    {"cos", __nv_cosf, cos, -10000, 10000, 1, 4}, {"square", ours_squared, squared, -100, 100, 0, 16},
};

static int special(void) {
    int wrong = 0;
    wrong += !(__nv_expf(-INFINITY) == 0) + !(__nv_expf(INFINITY) == INFINITY) + !isnan(__nv_expf(NAN));
    wrong += !(__nv_expf(-3.4e38f) == 0) + !(__nv_expf(0) == 1) + !(__nv_exp2f(10) == 1024);
    wrong += !(__nv_logf(0) == -INFINITY) + !(__nv_logf(INFINITY) == INFINITY) + !isnan(__nv_logf(-1));
    wrong += !(__nv_logf(1) == 0) + !(fabsf(__nv_logf(1e-42f) + 96.7086f) < 1e-3f) + !isnan(__nv_tanhf(NAN));
    wrong += !(__nv_tanhf(-INFINITY) == -1) + !(__nv_erff(INFINITY) == 1) + !isnan(__nv_erff(NAN));
    wrong += !(__nv_powf(-2, 3) < -7.99f) + !isnan(__nv_powf(-2, 0.5f)) + !(__nv_powf(0, 0) == 1);
    return wrong;
}

int main(void) {
    int failed = special();
    printf("special values: %d wrong\n", failed);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const struct Case *c = &CASES[i];
        double worst = 0;
        for (int step = 0; step <= 1000000; step++) {
            float x = c->from + (c->to - c->from) * (step / 1e6);
            double exact = c->exact(x);
            double unit = c->absolute && fabs(exact) < 1 ? 1.0 / (1 << 24) : fabs(exact) / (1 << 24);
            double error = fabs(c->ours(x) - exact) / (unit > 1e-45 ? unit : 1e-45);
            if (!(error <= worst)) worst = error;
        }
        printf("%-7s from %g to %g: %.2f units, %g allowed\n", c->name, c->from, c->to, worst, c->most);
        failed += !(worst <= c->most);
    }
    return failed != 0;
}
