extension Target {
  /// AVX-512 with matrix tiles: `tdpbf16ps` multiplies 16 x 32 by 32 x 16 bf16 into f32. Sapphire
  /// Rapids onwards, where the operating system grants the tiles' registers.
  public static let amx = Target(
    name: "amx", vocabulary: "avx512.h", lanes: 16, vectorRegisters: 32,
    hasBFloat16Products: true, matrixVocabulary: "amx.h", secondLevelCache: 2 << 20,
    compilerArguments: Target.avx512bf16.compilerArguments + ["-mamx-tile", "-mamx-bf16"])
}
