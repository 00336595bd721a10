extension Target {
  /// 64-bit Arm with the vectors that all of them have; on another host compiled across and emulated.
  public static let neon = Target(
    name: "neon", vocabulary: "neon.h", lanes: 4, vectorRegisters: 32,
    compilerArguments: ["--target=aarch64-linux-gnu"],
    emulator: ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"])
}
