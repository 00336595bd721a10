import Glibc

extension Files {
  /// Writes texts into a folder, which is made where it is missing: aside first, then renamed into
  /// place, so that each is whole or as it was, and a folder that was made for nothing goes again.
  public static func install(_ texts: [(name: String, text: String)], in folder: String) throws {
    let made = missingFolders(upTo: folder)
    do {
      try makeFolder(folder)
      let aside = try makeUniqueFolder(in: folder, prefix: ".writing-")
      defer { remove(aside) }
      for (name, text) in texts { try write(text, to: "\(aside)/\(name)") }
      for (name, _) in texts { try rename("\(aside)/\(name)", to: "\(folder)/\(name)") }
    } catch {
      removeEmpty(made)
      throw error
    }
  }

  /// Folders at and above `path` that are not there, the innermost first.
  static func missingFolders(upTo path: String) -> [String] {
    var missing: [String] = []
    var path = path
    while !isFolder(path), path != parent(of: path) {
      missing.append(path)
      path = parent(of: path)
    }
    return missing
  }

  /// Removes folders, as far as nobody else has put something there.
  static func removeEmpty(_ folders: [String]) {
    for folder in folders { rmdir(folder) }
  }
}
