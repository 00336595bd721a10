extension Target {
  /// AVX-512 whose `vdpbf16ps` multiplies pairs of bf16 into f32: Cooper Lake, Sapphire Rapids, Zen 4.
  public static let avx512bf16 = Target(
    name: "avx512bf16", vocabulary: "avx512.h", lanes: 16, vectorRegisters: 32,
    hasBFloat16Products: true, secondLevelCache: 1 << 20,
    compilerArguments: Target.avx512.compilerArguments + ["-mavx512bf16"])
}
