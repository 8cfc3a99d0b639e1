// f16, bf16 and fp8: scalar and packed arithmetic, comparisons, conversions of the CUDA headers.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "corpus.cuh"

__device__ uint32_t word(__half h) { return __half_as_ushort(h); }
__device__ uint32_t word(__nv_bfloat16 h) { return __bfloat16_as_ushort(h); }
__device__ uint32_t word(__half2 h) { return *(uint32_t*)&h; }
__device__ uint32_t word(__nv_bfloat162 h) { return *(uint32_t*)&h; }

KERNEL(half_ops) {
    THREAD(16);
    const __half x = __ushort_as_half((uint16_t)a), y = __ushort_as_half((uint16_t)b),
                 z = __ushort_as_half((uint16_t)c);
    own[0] = word(x + y);
    own[1] = word(x * y);
    own[2] = word(__hfma(x, y, z));
    own[3] = word(__hsub(x, y));
    own[4] = word(__hmin(x, y));
    own[5] = word(__hmax(x, y));
    own[6] = word(__hmin_nan(x, y));
    own[7] = word(__hmax_nan(x, y));
    own[8] = word(__hneg(x)) | word(__habs(y)) << 16;
    own[9] = word(__hadd_sat(x, y));
    own[10] = word(__hfma_relu(x, y, z));
    own[11] = __heq(x, y) | __hlt(x, y) << 1 | __hgeu(x, y) << 2 | __hneu(x, y) << 3 | __hisnan(x) << 4 |
              (__hisinf(y) != 0) << 5;
    own[12] = word(hrint(x));
    own[13] = word(htrunc(y));
    own[14] = word(x / y);
    own[15] = word(__hmul_sat(x, y));
}

KERNEL(half2_ops) {
    THREAD(13);
    __half2 x = *(__half2*)&a, y = *(__half2*)&b, z = *(__half2*)&c;
    own[0] = word(__hadd2(x, y));
    own[1] = word(__hmul2(x, y));
    own[2] = word(__hfma2(x, y, z));
    own[3] = word(__hsub2(x, y));
    own[4] = word(__hmin2(x, y));
    own[5] = word(__hmax2_nan(x, y));
    own[6] = word(__hneg2(x));
    own[7] = word(__habs2(x));
    own[8] = word(__heq2(x, y));
    own[9] = word(__hgt2(x, y));
    own[10] = __hbge2(x, y) | __hbltu2(x, y) << 1;
    own[11] = __hne2_mask(x, y);
    own[12] = word(__hfma2_sat(x, y, z));
}

KERNEL(bfloat_ops) {
    THREAD(16);
    const __nv_bfloat16 x = __ushort_as_bfloat16((uint16_t)a), y = __ushort_as_bfloat16((uint16_t)b),
                        z = __ushort_as_bfloat16((uint16_t)c);
    __nv_bfloat162 p = *(__nv_bfloat162*)&a, q = *(__nv_bfloat162*)&b, r = *(__nv_bfloat162*)&c;
    own[0] = word(x + y);
    own[1] = word(x * y);
    own[2] = word(__hfma(x, y, z));
    own[3] = word(__hsub(x, y));
    own[4] = word(__hmin(x, y));
    own[5] = word(__hmax_nan(x, y));
    own[6] = word(__hneg(x)) | word(__habs(y)) << 16;
    own[7] = __heq(x, y) | __hle(x, y) << 1 | __hgtu(x, y) << 2;
    own[8] = word(__hadd2(p, q));
    own[9] = word(__hmul2(p, q));
    own[10] = word(__hfma2(p, q, r));
    own[11] = word(__hmax2(p, q));
    own[12] = word(__hfma2_relu(p, q, r));
    own[13] = word(__habs2(p));
    own[14] = word(__hneg2(p));
    own[15] = word(hrint(x));
}

KERNEL(half_conversions) {
    THREAD(20);
    const float x = __uint_as_float(a);
    const double w = __hiloint2double((int)a, (int)b);
    const __half h = __ushort_as_half((uint16_t)b);
    const __nv_bfloat16 f = __ushort_as_bfloat16((uint16_t)c);
    own[0] = word(__float2half_rn(x)) | word(__float2half_rz(x)) << 16;
    own[1] = word(__float2half_rd(x)) | word(__float2half_ru(x)) << 16;
    own[2] = word(__float2bfloat16_rn(x)) | word(__float2bfloat16_rz(x)) << 16;
    own[3] = word(__double2half(w)) | word(__double2bfloat16(w)) << 16;
    own[4] = __float_as_uint(__half2float(h));
    // A shift before sm_90, an instruction from there on: NaN payloads differ.
    own[5] = __hisnan(f) ? 0 : __float_as_uint(__bfloat162float(f));
    own[6] = word(__floats2half2_rn(x, __uint_as_float(d)));
    own[7] = word(__floats2bfloat162_rn(x, __uint_as_float(d)));
    own[8] = (uint32_t)__half2int_rz(h);
    own[9] = __half2uint_rn(h);
    own[10] = (uint32_t)(int)__half2short_rd(h);
    own[11] = (uint32_t)__half2ll_ru(h);
    own[12] = word(__int2half_rn((int)d)) | word(__uint2half_rz(d)) << 16;
    own[13] = word(__short2half_rn((short)d)) | word(__ushort2half_ru((unsigned short)d)) << 16;
    own[14] = word(__ll2half_rn((long long)d << 3)) | word(__int2bfloat16_rn((int)d)) << 16;
    own[15] = (uint32_t)__bfloat162int_rz(f);
    own[16] = __bfloat162uint_rn(f);
    own[17] = word(__uint2bfloat16_rn(d));
    own[18] = word(hceil(h)) | word(hfloor(h)) << 16;
    own[19] = (uint32_t)__half2char_rz(h) & 0xff;
}

KERNEL(fp8_conversions) {
    THREAD(8);
    const float x = __uint_as_float(a), y = __uint_as_float(b);
    const __half2_raw p = *(const __half2_raw*)&c;
    const __nv_bfloat162_raw q = *(const __nv_bfloat162_raw*)&c;
    own[0] = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3) | __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2)
                                                                       << 8;
    own[1] = __nv_cvt_float2_to_fp8x2(make_float2(x, y), __NV_SATFINITE, __NV_E4M3);
    own[2] = __nv_cvt_float2_to_fp8x2(make_float2(x, y), __NV_SATFINITE, __NV_E5M2);
    own[3] = __nv_cvt_halfraw2_to_fp8x2(p, __NV_SATFINITE, __NV_E4M3) |
             __nv_cvt_halfraw2_to_fp8x2(p, __NV_SATFINITE, __NV_E5M2) << 16;
    own[4] = __nv_cvt_bfloat16raw2_to_fp8x2(q, __NV_SATFINITE, __NV_E4M3);
    const __half2_raw e = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)d, __NV_E4M3);
    const __half2_raw f = __nv_cvt_fp8x2_to_halfraw2((__nv_fp8x2_storage_t)d, __NV_E5M2);
    own[5] = *(const uint32_t*)&e;
    own[6] = *(const uint32_t*)&f;
    own[7] = __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E4M3) | __nv_cvt_float_to_fp8(x, __NV_NOSAT, __NV_E5M2) << 8;
}

KERNEL(half_functions) {
    THREAD(6);
    const __half h = __ushort_as_half((uint16_t)a);
    __half2 p = *(__half2*)&a;
    const __nv_bfloat16 f = __ushort_as_bfloat16((uint16_t)a);
    own[0] = word(hexp2(h)) | word(hlog2(h)) << 16;
    own[1] = word(hsqrt(h)) | word(hrcp(h)) << 16;
    own[2] = word(h2exp2(p));
    own[3] = word(htanh_approx(h)) | word(hrsqrt(h)) << 16;
    own[4] = word(htanh_approx(f)) | word(hexp2(f)) << 16;
    own[5] = word(hexp(h)) | word(hsin(h)) << 16;
}
