extension Target {
  /// x86-64 with the AVX-512 of every server since Skylake-SP, and of Zen 4: F, BW, DQ and VL.
  public static let avx512 = Target(
    name: "avx512", vocabulary: "avx512.h", lanes: 16, vectorRegisters: 32,
    secondLevelCache: 1 << 20,
    compilerArguments: [
      "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c",
      "-mprefer-vector-width=512",
    ])
}
