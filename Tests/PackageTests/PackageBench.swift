import Emission
import Execution
import Planning
import Recurrences
import Schedules
import Targets

/// A folder of its own for one test, removed at its end, with a tiny kernel that is built once.
final class PackageBench: Sendable {
  let folder: String
  let builder: Builder
  /// GLA at K = V = 8 in plain C.
  let kernel: EmittedKernel
  let library: String

  init() async throws {
    let folder = try Files.makeUniqueFolder(in: "/tmp", prefix: "sluice-package-")
    self.folder = folder
    builder = Builder(toolchain: try await Toolchain.find())
    kernel = try Self.emit(.gla)
    library = try await TinyLibraries.shared.path(of: kernel, builder)
  }

  deinit { Files.remove(folder) }

  static func emit(_ recurrence: Recurrence, _ type: ElementType = .f32) throws -> EmittedKernel {
    let specification = try KernelSpecification(
      normalForm: recurrence.normalForm(), key: 8, value: 8, type: type, gateType: type,
      target: .generic)
    return try Emitter.emit(specification, Planner().plan(specification))
  }

  /// Writes the kernel's package at `<folder>/<name>`.
  func write(_ name: String) async throws -> KernelPackage {
    try await KernelPackage.write(
      kernel: kernel, library: library, to: "\(folder)/\(name)", toolchain: builder.toolchain)
  }

  /// Builds and writes the package of another recurrence.
  func package(
    of recurrence: Recurrence, _ type: ElementType = .f32
  ) async throws -> KernelPackage {
    let kernel = try Self.emit(recurrence, type)
    return try await KernelPackage.write(
      kernel: kernel, library: TinyLibraries.shared.path(of: kernel, builder),
      to: "\(folder)/\(recurrence.name)-\(type.rawValue)", toolchain: builder.toolchain)
  }
}

/// Tiny kernels, each built once for all tests.
actor TinyLibraries {
  static let shared = TinyLibraries()
  private var builds: [SourceFile: Task<String, any Error>] = [:]

  func path(of kernel: EmittedKernel, _ builder: Builder) async throws -> String {
    let build =
      builds[kernel.source]
      ?? Task {
        let cache = KernelCache()
        return try await cache.entry(
          for: builder.job(kernel.source, for: .generic),
          description: kernel.name.description, builder: builder
        ).product
      }
    builds[kernel.source] = build
    return try await build.value
  }
}
