import Emission
import Foundation
import Targets

/// A folder that stands alone: library, header, source, manifest, and a Python module.
///
/// `write` puts a whole one in place or nothing; `open` trusts nothing that it finds.
public struct KernelPackage: Hashable, Sendable {
  /// The folder as it was named.
  public var folder: String
  public var manifest: KernelManifest

  public var library: String { "\(folder)/\(manifest.name).so" }
  public var source: String { "\(folder)/\(manifest.name).\(manifest.sourceSuffix)" }
  public var header: String { "\(folder)/\(manifest.name).h" }

  static let manifestFile = "manifest.json"

  /// Writes the package of a kernel whose library lies at `library`, in place of an older one.
  ///
  /// - Throws: a sentence when `folder` holds anything but a package, when the library is missing,
  ///   or when there is no room or permission; the folder is then as it was.
  public static func write(
    kernel: EmittedKernel, library: String, to folder: String, toolchain: Toolchain,
    assembler: CardAssembler? = nil
  ) async throws(SluiceError) -> KernelPackage {
    let place = try PackagePlace(folder)
    let content = try asSentence { () throws -> [UInt8] in
      guard Files.isRegular(library) else {
        throw SluiceError(.io, "There is no library at \(library) to put into a package.")
      }
      return try Files.read(library)
    }
    var manifest = kernel.manifest
    manifest.sourceDigest = ContentDigest.sha256(kernel.source.text)
    manifest.libraryDigest = ContentDigest.sha256(content)
    manifest.compiler = toolchain.version.line
    if let assembler {
      manifest.assembler = assembler.version
      manifest.cardKernels = try cardKernels(of: kernel, beside: library)
    }
    let module = try PythonModule.files(
      of: manifest, isForCard: kernel.source.name.hasSuffix(".cu"))
    let described = try Emitter.json(manifest, pretty: true) + "\n"
    let runtime = try await OpenMPCopy(for: content, toolchain)
    try place.install { aside in
      try Files.write(content, to: "\(aside)/\(manifest.name).so")
      try Files.makeExecutable("\(aside)/\(manifest.name).so")
      try Files.write(kernel.source.text, to: "\(aside)/\(kernel.source.name)")
      try Files.write(kernel.header.text, to: "\(aside)/\(manifest.name).h")
      try Files.write(described, to: "\(aside)/\(manifestFile)")
      for file in module { try Files.write(file.text, to: "\(aside)/\(file.name)") }
      try runtime?.write(into: aside)
    }
    return KernelPackage(folder: place.folder, manifest: manifest)
  }

  /// Builds the kernel, or finds it in the cache, and writes its package.
  ///
  /// - Returns: the package, and the cache's notice where it had to take another folder.
  public static func build(
    kernel: EmittedKernel, for target: Target, to folder: String, builder: Builder,
    cache: KernelCache = KernelCache()
  ) async throws(SluiceError) -> (package: KernelPackage, notice: String?) {
    // A folder that cannot be replaced is refused before the compiler runs.
    _ = try PackagePlace(folder)
    let entry = try await asSentence {
      try await cache.entry(
        for: builder.job(kernel.source, for: target),
        description: try Emitter.json(kernel.manifest), builder: builder)
    }
    let package = try await write(
      kernel: kernel, library: entry.product, to: folder, toolchain: builder.toolchain,
      assembler: kernel.source.name.hasSuffix(".cu") ? builder.assembler : nil)
    return (package, entry.notice)
  }

  /// What ptxas said of the kernels when it made the library's machine code.
  private static func cardKernels(
    of kernel: EmittedKernel, beside library: String
  ) throws(SluiceError) -> [KernelManifest.CardKernel] {
    let path = "\(Files.parent(of: library))/\(CardAssembler.report)"
    let text = try asSentence { String(decoding: try Files.read(path), as: UTF8.self) }
    return KernelManifest.CardKernel.parse(text).map {
      var described = $0
      described.sharedMemory = kernel.blockMemory[$0.name] ?? 0
      return described
    }
  }

  /// Opens a package: its manifest decodes, agrees with itself, and describes the files beside it.
  ///
  /// - Throws: a sentence of kind `.badInput` with what is damaged or foreign.
  public static func open(_ folder: String) throws(SluiceError) -> KernelPackage {
    let path = "\(folder)/\(manifestFile)"
    guard Files.isFolder(folder) else {
      throw SluiceError(.badInput, "\(folder) is no folder, and so no Sluice package.")
    }
    guard Files.isRegular(path) else {
      throw SluiceError(.badInput, "\(folder) is no Sluice package: it has no \(manifestFile).")
    }
    let manifest: KernelManifest
    do {
      let bytes = try Files.read(path)
      try checkVersion(bytes, path)
      manifest = try JSONDecoder().decode(KernelManifest.self, from: Data(bytes))
    } catch let error as SluiceError {
      throw SluiceError(.badInput, error.message, details: error.details)
    } catch {
      throw SluiceError(
        .badInput, "\(path) is damaged or foreign: it does not describe a kernel.",
        details: [describe(error)])
    }
    let package = KernelPackage(folder: folder, manifest: manifest)
    try package.check()
    return package
  }

  /// The version comes first: the manifest of another one may not decode at all.
  private static func checkVersion(_ bytes: [UInt8], _ path: String) throws {
    struct Version: Decodable { var abi: Int }
    let version = try JSONDecoder().decode(Version.self, from: Data(bytes))
    guard version.abi == KernelManifest.currentABI else {
      throw SluiceError(
        .badInput,
        "\(path) is of another version: its abi is \(version.abi), and this Sluice knows "
          + "\(KernelManifest.currentABI). Build the package again.")
    }
  }

  private static func describe(_ error: any Error) -> String {
    func path(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    return switch error as? DecodingError {
    case .keyNotFound(let key, _): "The field \(key.stringValue) is missing."
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
      "The field \(path(context)) has another type."
    case .dataCorrupted(let context) where context.codingPath.isEmpty: "It is no JSON."
    case .dataCorrupted(let context): "The field \(path(context)) has an unknown value."
    default: "\(error)"
    }
  }
}
