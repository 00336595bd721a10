extension Target {
  /// x86-64 with AVX2, FMA and F16C: Haswell and Zen onwards.
  public static let avx2 = Target(
    name: "avx2", vocabulary: "avx2.h", lanes: 8, vectorRegisters: 16,
    compilerArguments: ["-mavx2", "-mfma", "-mf16c"])
}
