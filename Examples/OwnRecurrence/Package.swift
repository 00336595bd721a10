// swift-tools-version: 6.2
// A package of one's own: one recurrence, and the whole command for it.
import PackageDescription

let package = Package(
  name: "OwnRecurrence",
  dependencies: [
    // Named, so that the folder Sluice lies in may be called anything.
    .package(name: "Sluice", path: "../..")
  ],
  targets: [
    .executableTarget(
      name: "own", dependencies: [.product(name: "Sluice", package: "Sluice")],
      path: "Sources/OwnRecurrence",
      swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)])
  ]
)
