import Foundation
import Glibc
import Targets

/// Where a package goes: a path that is free, or holds an older package and nothing else.
struct PackagePlace {
  /// The folder without a trailing slash.
  let folder: String
  /// The folder itself, where the name is a link to it: the link stays.
  private let real: String

  /// - Throws: a sentence when there is something that is not Sluice's to replace.
  init(_ path: String) throws(SluiceError) {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    guard !path.isEmpty else { throw SluiceError(.usage, "A package needs a folder's name.") }
    folder = path
    real = Self.resolved(path)
    try checkReplaceable()
  }

  /// Fills a sibling folder and renames it into place; on failure nothing has changed.
  func install(_ fill: (String) throws -> Void) throws(SluiceError) {
    try asSentence {
      let parent = Files.parent(of: real)
      let made = Files.missingFolders(upTo: parent)
      do {
        try Files.makeFolder(parent)
        let aside = try Files.makeUniqueFolder(in: parent, prefix: ".sluice-")
        defer { Files.remove(aside) }
        try Files.makeFolder("\(aside)/new")
        try fill("\(aside)/new")
        try exchange("\(aside)/new", "\(aside)/old")
      } catch {
        Files.removeEmpty(made)
        throw error
      }
    }
  }

  /// Another writer may be as far: who finds the place taken looks at it and replaces it again.
  private func exchange(_ new: String, _ old: String) throws {
    for _ in 0..<8 {
      try checkReplaceable()
      let hadOld = Glibc.rename(real, old) == 0
      if !hadOld, errno != ENOENT { throw Files.failure("replace", folder, .cannotCreate) }
      if Glibc.rename(new, real) == 0 { return }
      let isTaken = errno == ENOTEMPTY || errno == EEXIST
      let error = Files.failure("create", folder, .cannotCreate)
      if hadOld, Glibc.rename(old, real) != 0, !isTaken {
        throw SluiceError(
          .cannotCreate, "\(error.message) What was there before is now \(Self.rescued(old)).")
      }
      Files.remove(old)
      if !isTaken { throw error }
    }
    throw SluiceError(.cannotCreate, "\(folder) changes all the time; write elsewhere.")
  }

  /// Only what a package consists of may go.
  private func checkReplaceable() throws(SluiceError) {
    var status = stat()
    guard lstat(real, &status) == 0 else { return }
    guard Files.isFolder(real) else {
      throw SluiceError(
        .cannotCreate, "\(folder) exists and is no folder; name another one for the package.")
    }
    let names = Files.names(in: real)
    if names.isEmpty { return }
    guard let kernel = Self.kernelName(in: real) else {
      throw SluiceError(
        .cannotCreate,
        "\(folder) holds something that is no Sluice package, and is left alone; "
          + "name another folder, or remove it.")
    }
    let own = PythonModule.names + [KernelPackage.manifestFile, "__pycache__"]
    let foreign = names.filter { name in
      !own.contains(name) && !name.hasPrefix(OpenMPCopy.prefix)
        && ![".so", ".c", ".cu", ".h"].contains { name == kernel + $0 }
    }
    guard foreign.isEmpty else {
      throw SluiceError(
        .cannotCreate,
        "\(folder) is a package that also holds \(foreign[0]), which is not Sluice's to remove; "
          + "name another folder, or move it.")
    }
  }

  /// The kernel whose package a folder is, whatever version of Sluice wrote it.
  private static func kernelName(in folder: String) -> String? {
    struct Sign: Decodable {
      var abi: Int
      var sluice: String
      var name: String
    }
    guard let bytes = try? Files.read("\(folder)/\(KernelPackage.manifestFile)") else { return nil }
    return (try? JSONDecoder().decode(Sign.self, from: Data(bytes)))?.name
  }

  private static func resolved(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }

  /// Moves what cannot go back out of the folder that is about to be removed.
  private static func rescued(_ old: String) -> String {
    let place = Files.parent(of: old) + "-old"
    return Glibc.rename(old, place) == 0 ? place : old
  }
}
