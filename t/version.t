#!/usr/bin/perl

# There is one version, core/nuc_version.h's: programs and packages say the same.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $root = "$FindBin::Bin/..";

sub find {
    my ($file, $pattern) = @_;

    open my $fh, '<', "$root/$file" or die "$file: $!\n";
    local $/;

    return <$fh> =~ $pattern ? $1 : "not in $file";
}

my $version = find('ngx_nucleus_module/core/nuc_version.h', qr/^#define NUC_VERSION "(\d+\.\d+\.\d+)"$/m);
like($version, qr/^\d+\.\d+\.\d+$/, 'the version');

is(find('packaging/debian/changelog', qr/\Anucleus \(([^-]+)-[^-)]+\) /), $version, 'the newest Debian package');
is(find('packaging/rpm/nucleus.spec', qr/^Version: +(\S+)$/m), $version, 'the RPM package');
is(find('packaging/rpm/nucleus.spec', qr/^%changelog\n\*.* (\S+)-\d+$/m), $version, 'its newest change');

for my $program (Nucleus::Test::worker_binary(), Nucleus::Test::ctl_binary()) {
    my $out = qx{'$program' --version};
    my ($name) = $program =~ m{([^/]+)$};
    is($out, "$name $version\n", $name);
}

done_testing;
